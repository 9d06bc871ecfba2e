/* What keys take: texts, names, choices, quantities, numbers. */
#include "controlplane/config/nearest.h"
#include "controlplane/config/quantity.h"
#include "controlplane/config/reader.h"
#include "shared/number.h"

#include <inttypes.h>

const struct tern_config_choice tern_config_actions[] = {
    {"allow", TERN_ALLOW}, {"deny", TERN_DENY}, {"challenge", TERN_CHALLENGE}, {NULL, 0}};
const struct tern_config_choice tern_config_answers[] = {{"allow", TERN_ALLOW},
                                                         {"deny", TERN_DENY},
                                                         {"challenge", TERN_CHALLENGE},
                                                         {"undecided", TERN_UNDECIDED},
                                                         {NULL, 0}};

/* A text that says something: not a list, not empty, not a secret. */
static bool expect_text(struct tern_config_reader *reader, const struct tern_config_key *key,
                        const struct tern_yaml_node *node)
{
    const char *text;

    if (!tern_config_expect(reader, node, TERN_YAML_SCALAR, key->name))
        return false;
    text = node->text.text;
    if (node->text.length == 0) {
        TERN_CONFIG_ERROR(reader, node->place, "'%s' needs a value", key->name);
        return false;
    }
    if (strstr(text, "${env:") != NULL || strstr(text, "${file:") != NULL) {
        TERN_CONFIG_ERROR(reader, node->place,
                          "'%s' is no secret: ${env:…} and ${file:…} stand for secrets only",
                          key->name);
        return false;
    }
    return true;
}

void tern_config_read_text(struct tern_config_reader *reader, const struct tern_config_key *key,
                           const struct tern_yaml_node *node, void *member)
{
    if (expect_text(reader, key, node))
        *(struct tern_text *)member = node->text;
}

void tern_config_read_free_text(struct tern_config_reader *reader,
                                const struct tern_config_key *key,
                                const struct tern_yaml_node *node, void *member)
{
    if (tern_config_expect(reader, node, TERN_YAML_SCALAR, key->name))
        *(struct tern_text *)member = node->text;
}

void tern_config_read_identifier(struct tern_config_reader *reader,
                                 const struct tern_config_key *key,
                                 const struct tern_yaml_node *node, void *member)
{
    if (expect_text(reader, key, node) &&
        tern_config_check_name(reader, &node->text, key->name, true))
        *(struct tern_text *)member = node->text;
}

int tern_config_choose(struct tern_config_reader *reader, const char *key_name,
                       const struct tern_text *text, const struct tern_config_choice *choices)
{
    struct tern_nearest nearest = {.wanted = text->text, .wanted_length = text->length};
    char all[256] = "";
    size_t used = 0;

    for (const struct tern_config_choice *choice = choices; choice->name != NULL; choice++) {
        if (strcmp(choice->name, text->text) == 0)
            return choice->value;
        tern_nearest_offer(&nearest, choice->name, strlen(choice->name));
        if (used < sizeof all)
            used += (size_t)snprintf(all + used, sizeof all - used, "%s%s",
                                     choice == choices        ? ""
                                     : choice[1].name == NULL ? " or "
                                                              : ", ",
                                     choice->name);
    }
    if (nearest.best != NULL)
        TERN_CONFIG_ERROR(reader, text->place, "'%s' cannot be '%s'; did you mean '%s'?", key_name,
                          text->text, nearest.best);
    else
        TERN_CONFIG_ERROR(reader, text->place, "'%s' cannot be '%s'; it is %s", key_name,
                          text->text, all);
    return -1;
}

void tern_config_read_choice(struct tern_config_reader *reader, const struct tern_config_key *key,
                             const struct tern_yaml_node *node, void *member)
{
    int value;

    if (!expect_text(reader, key, node))
        return;
    value = tern_config_choose(reader, key->name, &node->text, key->choices);
    if (value >= 0)
        *(int *)member = value;
}

/* How a kind of quantity is parsed, shown, and described. */
struct quantity {
    int (*parse)(const char *text, size_t length, uint64_t *value);
    void (*format)(uint64_t value, char text[TERN_QUANTITY_TEXT]);
    const char *expected;
};

static void format_count(uint64_t value, char text[TERN_QUANTITY_TEXT])
{
    snprintf(text, TERN_QUANTITY_TEXT, "%" PRIu64, value);
}

static void read_quantity(struct tern_config_reader *reader, const struct tern_config_key *key,
                          const struct tern_yaml_node *node, const struct quantity *quantity,
                          uint64_t *member)
{
    uint64_t maximum = key->maximum == 0 ? UINT64_MAX : key->maximum;
    uint64_t value;
    int result;

    if (!expect_text(reader, key, node))
        return;
    result = quantity->parse(node->text.text, node->text.length, &value);
    if (result == TERN_EINVAL) {
        TERN_CONFIG_ERROR(reader, node->text.place, "'%s' takes %s, not '%s'", key->name,
                          quantity->expected, node->text.text);
    } else if (result != 0 || value < key->minimum || value > maximum) {
        char low[TERN_QUANTITY_TEXT], high[TERN_QUANTITY_TEXT];

        quantity->format(key->minimum, low);
        quantity->format(maximum, high);
        if (maximum == UINT64_MAX && result == 0)
            TERN_CONFIG_ERROR(reader, node->text.place, "'%s' is at least %s, not '%s'", key->name,
                              low, node->text.text);
        else
            TERN_CONFIG_ERROR(reader, node->text.place, "'%s' is between %s and %s, not '%s'",
                              key->name, low, high, node->text.text);
    } else {
        *member = value;
    }
}

void tern_config_read_size(struct tern_config_reader *reader, const struct tern_config_key *key,
                           const struct tern_yaml_node *node, void *member)
{
    static const struct quantity size = {tern_quantity_size, tern_quantity_format_size,
                                         "a size such as 512, 64KiB, 1MiB or 4GiB"};

    read_quantity(reader, key, node, &size, member);
}

void tern_config_read_count(struct tern_config_reader *reader, const struct tern_config_key *key,
                            const struct tern_yaml_node *node, void *member)
{
    static const struct quantity count = {tern_quantity_count, format_count,
                                          "a count such as 250, 10k or 1M"};

    read_quantity(reader, key, node, &count, member);
}

void tern_config_read_duration(struct tern_config_reader *reader, const struct tern_config_key *key,
                               const struct tern_yaml_node *node, void *member)
{
    static const struct quantity duration = {tern_quantity_duration, tern_quantity_format_duration,
                                             "a duration such as 250us, 10ms, 5s, 5m, 1h or 7d"};

    read_quantity(reader, key, node, &duration, member);
}

void tern_config_read_number(struct tern_config_reader *reader, const struct tern_config_key *key,
                             const struct tern_yaml_node *node, void *member)
{
    float value;
    int result;

    if (!expect_text(reader, key, node))
        return;
    result = tern_number_parse_f32(node->text.text, node->text.length, &value);
    if (result == 0)
        *(float *)member = value;
    else
        TERN_CONFIG_ERROR(reader, node->text.place,
                          "'%s' takes a number such as 4 or 0.75, not '%s'%s", key->name,
                          node->text.text, result == TERN_ELIMIT ? ": too large" : "");
}

char *tern_config_resolve(struct tern_config_reader *reader, const struct tern_text *path)
{
    const char *file = reader->config->path;
    const char *slash = strrchr(file, '/');
    size_t folder = slash == NULL || path->text[0] == '/' ? 0 : (size_t)(slash - file) + 1;
    char *resolved = tern_config_take(reader, folder + path->length + 1);

    if (resolved == NULL)
        return NULL;
    memcpy(resolved, file, folder);
    memcpy(resolved + folder, path->text, path->length);
    return resolved;
}
