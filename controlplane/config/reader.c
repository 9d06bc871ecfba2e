#include "controlplane/config/reader.h"

#include "controlplane/config/nearest.h"

void *tern_config_take(struct tern_config_reader *reader, size_t bytes)
{
    void *taken = tern_memory_take(reader->memory, bytes);

    if (taken == NULL)
        reader->out_of_memory = true;
    return taken;
}

bool tern_config_expect(struct tern_config_reader *reader, const struct tern_yaml_node *node,
                        enum tern_yaml_kind kind, const char *key_name)
{
    bool nothing = node->kind == TERN_YAML_SCALAR && node->text.length == 0 &&
                   node->text.style == TERN_TEXT_PLAIN;

    if (node->kind == kind)
        return true;
    if (node->kind != TERN_YAML_BROKEN)
        TERN_CONFIG_ERROR(
            reader, node->place, "'%s' takes %s, not %s%s", key_name, tern_yaml_kind_name(kind),
            nothing ? "nothing" : tern_yaml_kind_name(node->kind),
            kind == TERN_YAML_SCALAR ? " (quote a text that begins with '[' or '{')" : "");
    return false;
}

static const struct tern_config_key *find_key(const struct tern_config_key *keys,
                                              unsigned key_count, const struct tern_text *name)
{
    for (unsigned i = 0; i < key_count; i++)
        if (strcmp(keys[i].name, name->text) == 0)
            return &keys[i];
    return NULL;
}

static void report_unknown_key(struct tern_config_reader *reader, const struct tern_text *name,
                               struct tern_place place, const char *what,
                               const struct tern_config_key *keys, unsigned key_count)
{
    struct tern_nearest nearest = {.wanted = name->text, .wanted_length = name->length};
    char all[512] = "";
    size_t used = 0;

    for (unsigned i = 0; i < key_count; i++) {
        tern_nearest_offer(&nearest, keys[i].name, strlen(keys[i].name));
        if (used < sizeof all)
            used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", i > 0 ? ", " : "",
                                     keys[i].name);
    }
    if (nearest.best != NULL)
        TERN_CONFIG_ERROR(reader, place, "unknown key '%s' in %s; did you mean '%s'?", name->text,
                          what, nearest.best);
    else
        TERN_CONFIG_ERROR(reader, place, "unknown key '%s' in %s; its keys are %s", name->text,
                          what, all);
}

static void report_missing_keys(struct tern_config_reader *reader,
                                const struct tern_yaml_node *node, const char *what,
                                const struct tern_config_key *keys, unsigned key_count,
                                uint64_t seen)
{
    for (unsigned i = 0; i < key_count; i++)
        if (keys[i].required && !(seen >> i & 1))
            TERN_CONFIG_ERROR(reader, node->place, "'%s' is missing in %s", keys[i].name, what);
}

uint64_t tern_config_read_mapping(struct tern_config_reader *reader,
                                  const struct tern_yaml_node *node, const char *what,
                                  const struct tern_config_key *keys, unsigned key_count,
                                  void *target)
{
    struct tern_place first[64];
    uint64_t seen = 0;

    assert(key_count <= TERN_COUNT(first));
    if (node->kind == TERN_YAML_BROKEN)
        return 0;
    if (node->kind != TERN_YAML_MAPPING) {
        TERN_CONFIG_ERROR(reader, node->place, "%s is a mapping (key: value), not %s", what,
                          tern_yaml_kind_name(node->kind));
        return 0;
    }
    for (const struct tern_yaml_node *name = node->first; name != NULL; name = name->next->next) {
        const struct tern_config_key *key;
        unsigned index;

        if (name->kind == TERN_YAML_BROKEN)
            continue;
        key = find_key(keys, key_count, &name->text);
        if (key == NULL) {
            report_unknown_key(reader, &name->text, name->place, what, keys, key_count);
            continue;
        }
        index = (unsigned)(key - keys);
        if (seen >> index & 1) {
            TERN_CONFIG_ERROR(reader, name->place, "'%s' is given twice in %s; first at line %u",
                              key->name, what, first[index].line);
            continue;
        }
        seen |= 1ull << index;
        first[index] = name->place;
        key->read(reader, key, name->next, (char *)target + key->offset);
    }
    report_missing_keys(reader, node, what, keys, key_count, seen);
    return seen;
}

void *tern_config_read_list(struct tern_config_reader *reader, const struct tern_config_key *key,
                            const struct tern_yaml_node *node, size_t element_bytes,
                            unsigned maximum, tern_config_element_function *read, unsigned *count)
{
    char *elements, *element;

    *count = 0;
    if (!tern_config_expect(reader, node, TERN_YAML_SEQUENCE, key->name))
        return NULL;
    if (node->count > maximum) {
        TERN_CONFIG_ERROR(reader, node->place, "'%s' has %u entries; at most %u are possible",
                          key->name, node->count, maximum);
        return NULL;
    }
    element = elements = tern_config_take(reader, node->count * element_bytes);
    if (elements == NULL)
        return NULL;
    for (const struct tern_yaml_node *item = node->first; item != NULL; item = item->next) {
        read(reader, item, element);
        element += element_bytes;
    }
    *count = node->count;
    return elements;
}

void *tern_config_read_named(struct tern_config_reader *reader, const struct tern_config_key *key,
                             const struct tern_yaml_node *node, const char *what,
                             size_t element_bytes, unsigned maximum,
                             tern_config_element_function *read, unsigned *count)
{
    char *elements;
    unsigned used = 0;

    *count = 0;
    if (!tern_config_expect(reader, node, TERN_YAML_MAPPING, key->name))
        return NULL;
    if (node->count > maximum) {
        TERN_CONFIG_ERROR(reader, node->place, "'%s' has %u entries; at most %u are possible",
                          key->name, node->count, maximum);
        return NULL;
    }
    elements = tern_config_take(reader, node->count * element_bytes);
    if (elements == NULL)
        return NULL;
    for (const struct tern_yaml_node *name = node->first; name != NULL; name = name->next->next) {
        void *element = elements + used * element_bytes;

        if (name->kind == TERN_YAML_BROKEN ||
            !tern_config_check_name(reader, &name->text, what, false))
            continue;
        *(struct tern_text *)element = name->text;
        read(reader, name->next, element);
        used++;
    }
    tern_config_check_unique(reader, what, elements, used, element_bytes);
    *count = used;
    return elements;
}

static int compare_names(const void *left, const void *right)
{
    const struct tern_text *a = *(const struct tern_text *const *)left;
    const struct tern_text *b = *(const struct tern_text *const *)right;
    int order = strcmp(a->text, b->text);

    return order != 0 ? order : a < b ? -1 : a > b;
}

void tern_config_check_unique(struct tern_config_reader *reader, const char *what,
                              const void *elements, unsigned count, size_t element_bytes)
{
    const struct tern_text **sorted = malloc((count + 1) * sizeof *sorted);
    unsigned used = 0;

    if (sorted == NULL) {
        reader->out_of_memory = true;
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        const struct tern_text *name = (const void *)((const char *)elements + i * element_bytes);

        if (name->text != NULL) /* else it was missing, which has been said */
            sorted[used++] = name;
    }
    qsort(sorted, used, sizeof *sorted, compare_names);
    for (unsigned i = 1; i < used; i++)
        if (strcmp(sorted[i - 1]->text, sorted[i]->text) == 0)
            TERN_CONFIG_ERROR(reader, sorted[i]->place, "%s '%s' is given twice; first at line %u",
                              what, sorted[i]->text, sorted[i - 1]->place.line);
    free(sorted);
}

bool tern_config_check_name(struct tern_config_reader *reader, const struct tern_text *name,
                            const char *what, bool hyphens)
{
    for (size_t i = 0; i < name->length; i++) {
        char c = name->text[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';

        if (letter || (i > 0 && ((c >= '0' && c <= '9') || (hyphens && c == '-'))))
            continue;
        TERN_CONFIG_ERROR(reader, name->place,
                          "'%s' is not a valid name (%s): a letter or '_' first, then letters, "
                          "digits%s",
                          name->text, what, hyphens ? ", '_' and '-'" : " and '_'");
        return false;
    }
    if (name->length == 0) {
        TERN_CONFIG_ERROR(reader, name->place, "an empty name (%s)", what);
        return false;
    }
    if (name->length > TERN_NAME_MAX) {
        TERN_CONFIG_ERROR(reader, name->place, "a name (%s) of %zu bytes; at most %u", what,
                          name->length, TERN_NAME_MAX);
        return false;
    }
    return true;
}
