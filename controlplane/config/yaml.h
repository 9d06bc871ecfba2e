/* A YAML file as a tree of nodes with places: the subset of YAML that a configuration is written
 * in. Scalars are text, whatever they look like; what they mean is the business of the key they
 * stand under. */
#ifndef TERN_CONFIG_YAML_H
#define TERN_CONFIG_YAML_H

#include "controlplane/config/config.h"
#include "controlplane/config/memory.h"

#define TERN_YAML_DEPTH_MAX 32
#define TERN_YAML_NODES_MAX 4000000 /* 65,536 rules of all keys are 1.5 million */

enum tern_yaml_kind {
    TERN_YAML_SCALAR,
    TERN_YAML_SEQUENCE,
    TERN_YAML_MAPPING,
    TERN_YAML_BROKEN, /* an error has been reported; say no more about it */
};

struct tern_yaml_node {
    enum tern_yaml_kind kind;
    unsigned count;               /* items of a sequence, pairs of a mapping */
    struct tern_place place;      /* of its first character, quotes included */
    struct tern_text text;        /* scalars */
    struct tern_yaml_node *first; /* a mapping's children: key, value, key, value … */
    struct tern_yaml_node *next;
};

/* Parses `length` bytes of `text` (the content of `file`) into `*root`. Nodes live in `nodes`, the
 * texts of scalars in `texts`; both refer to `text` and `file`. Everything outside the subset is
 * reported in `diagnostics`: anchors, aliases, tags, merge keys, directives, further documents,
 * keys that are not scalars, bytes that are not UTF-8, control characters. A syntax error ends it.
 * Returns 0 (the tree may hold BROKEN nodes), TERN_EINVAL when there is no tree, TERN_ENOMEM. */
int tern_yaml_parse(const char *file, const char *text, size_t length, struct tern_memory *nodes,
                    struct tern_memory *texts, struct tern_diagnostics *diagnostics,
                    struct tern_yaml_node **root);

/* "a text", "a list", "a mapping"; for messages. */
const char *tern_yaml_kind_name(enum tern_yaml_kind kind);

#endif
