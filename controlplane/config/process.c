/* How the processes run: listen, limits. */
#include "controlplane/config/reader.h"
#include "shared/number.h"
#include "shared/settings.h"

#define SECOND_US 1000000ull
#define DAY_US    (86400 * SECOND_US)

void tern_config_read_limits(struct tern_config_reader *reader, const struct tern_config_key *key,
                             const struct tern_yaml_node *node, void *member)
{
#define LIMIT(member_name) offsetof(struct tern_config_limits, member_name)
    static const struct tern_config_key keys[] = {
        {.name = "max_frame",
         .read = tern_config_read_size,
         .offset = LIMIT(max_frame_bytes),
         .minimum = 1024,
         .maximum = TERN_MAX_FRAME_LIMIT},
        {.name = "idle",
         .read = tern_config_read_duration,
         .offset = LIMIT(idle_us),
         .minimum = 10000,
         .maximum = 7 * DAY_US},
        {.name = "half_frame",
         .read = tern_config_read_duration,
         .offset = LIMIT(half_frame_us),
         .minimum = 10000,
         .maximum = 3600 * SECOND_US},
        {.name = "connections",
         .read = tern_config_read_count,
         .offset = LIMIT(connections),
         .minimum = 1,
         .maximum = 1000000},
        {.name = "deadline",
         .read = tern_config_read_duration,
         .offset = LIMIT(deadline_us),
         .minimum = 1,
         .maximum = 3600 * SECOND_US},
        {.name = "rules_bytes",
         .read = tern_config_read_size,
         .offset = LIMIT(rules_bytes),
         .minimum = 64u << 10,
         .maximum = 64ull << 30},
    };
#undef LIMIT
    (void)key;
    tern_config_read_mapping(reader, node, "'limits'", keys, TERN_COUNT(keys), member);
}

/* ---- listen ---- */

static bool port_is_valid(const char *text, size_t length)
{
    uint64_t port;

    return length <= 5 && tern_number_parse_u64(text, length, &port) == 0 && port <= 65535;
}

/* "127.0.0.1:7400" or "[::1]:7400". Names are not resolved: the data plane binds what stands here.
 */
static bool tcp_is_valid(const char *text, size_t length)
{
    const char *colon = memrchr(text, ':', length);
    struct tern_address address;
    size_t host_length;

    if (colon == NULL)
        return false;
    host_length = (size_t)(colon - text);
    if (!port_is_valid(colon + 1, length - host_length - 1))
        return false;
    if (host_length > 2 && text[0] == '[' && text[host_length - 1] == ']')
        return memchr(text, '.', host_length) == NULL &&
               tern_address_parse(text + 1, host_length - 2, &address) == 0;
    return tern_address_parse(text, host_length, &address) == 0 &&
           memchr(text, ':', host_length) == NULL;
}

#define SUN_PATH_MAX 107 /* sun_path is 108 bytes with its NUL */

static void check_listen(struct tern_config_reader *reader, const struct tern_text *listen)
{
    static const char tcp[] = "tcp://", unix_socket[] = "unix://";

    if (strncmp(listen->text, unix_socket, strlen(unix_socket)) == 0) {
        const char *path = listen->text + strlen(unix_socket);

        if (path[0] != '/')
            TERN_CONFIG_ERROR(reader, listen->place,
                              "a Unix socket needs an absolute path: unix:///path, not '%s'",
                              listen->text);
        else if (strlen(path) > SUN_PATH_MAX)
            TERN_CONFIG_ERROR(reader, listen->place,
                              "the path of a Unix socket has at most %d bytes; this one has %zu",
                              SUN_PATH_MAX, strlen(path));
        return;
    }
    if (strncmp(listen->text, tcp, strlen(tcp)) == 0 &&
        tcp_is_valid(listen->text + strlen(tcp), listen->length - strlen(tcp)) &&
        listen->length < TERN_LISTEN_BYTES)
        return;
    TERN_CONFIG_ERROR(reader, listen->place,
                      "'%s' is nothing to listen on; expected tcp://ADDRESS:PORT (as in "
                      "tcp://127.0.0.1:7400, tcp://[::1]:7400) or unix:///path",
                      listen->text);
}

static void read_listen_item(struct tern_config_reader *reader, const struct tern_yaml_node *node,
                             void *element)
{
    static const struct tern_config_key key = {.name = "listen"};
    struct tern_text *listen = element;

    tern_config_read_text(reader, &key, node, listen);
    if (listen->text != NULL)
        check_listen(reader, listen);
}

void tern_config_read_listen(struct tern_config_reader *reader, const struct tern_config_key *key,
                             const struct tern_yaml_node *node, void *member)
{
    struct tern_config *config = member;

    if (node->kind == TERN_YAML_SEQUENCE && node->count == 0)
        TERN_CONFIG_ERROR(reader, node->place, "'listen' is empty: nobody could ask");
    config->listen =
        tern_config_read_list(reader, key, node, sizeof *config->listen, TERN_LISTEN_MAX,
                              read_listen_item, &config->listen_count);
    tern_config_check_unique(reader, "endpoint", config->listen, config->listen_count,
                             sizeof *config->listen);
}
