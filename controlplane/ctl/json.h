/* JSON out (for --json) and in (what `explain` answers). */
#ifndef TERN_CTL_JSON_H
#define TERN_CTL_JSON_H

#include "shared/base.h"
#include "shared/buffer.h"

/* --- Writing: values are appended in order, commas and nesting are kept. `key` is NULL inside
 * arrays. Running out of memory is remembered; tern_json_print then says so. --- */
struct tern_json {
    struct tern_buffer buffer;
    bool comma;
    bool failed;
};

void tern_json_object(struct tern_json *json, const char *key);
void tern_json_object_end(struct tern_json *json);
void tern_json_array(struct tern_json *json, const char *key);
void tern_json_array_end(struct tern_json *json);
void tern_json_string(struct tern_json *json, const char *key, const char *text);
void tern_json_text(struct tern_json *json, const char *key, const void *text, size_t length);
void tern_json_u64(struct tern_json *json, const char *key, uint64_t value);
void tern_json_i64(struct tern_json *json, const char *key, int64_t value);
void tern_json_double(struct tern_json *json, const char *key, double value); /* NaN, ∞: null */
/* Likewise, in as few digits as read back the same f32. */
void tern_json_float(struct tern_json *json, const char *key, float value);
void tern_json_bool(struct tern_json *json, const char *key, bool value);
void tern_json_null(struct tern_json *json, const char *key);
/* µs since 1970 as "2026-11-22T08:15:04.123Z", 0 as null. */
void tern_json_time(struct tern_json *json, const char *key, uint64_t at_us);
/* Writes it and a newline to standard output, and frees it. */
void tern_json_print(struct tern_json *json);

/* --- Reading --- */
enum tern_json_kind {
    TERN_JSON_NULL,
    TERN_JSON_BOOL,
    TERN_JSON_NUMBER,
    TERN_JSON_STRING,
    TERN_JSON_ARRAY,
    TERN_JSON_OBJECT,
};

struct tern_json_value {
    enum tern_json_kind kind;
    const char *key;  /* inside an object; NUL-terminated */
    const char *text; /* of strings, decoded; of numbers as written */
    double number;
    bool boolean;
    struct tern_json_value *child; /* the first one */
    struct tern_json_value *next;  /* sibling */
};

#define TERN_JSON_DEPTH_MAX 64

/* Parses `length` bytes. The tree lives until tern_json_free. TERN_EINVAL (not JSON, or nested
 * deeper than TERN_JSON_DEPTH_MAX), TERN_ENOMEM. */
struct tern_json_tree;
int tern_json_parse(const char *text, size_t length, struct tern_json_tree **tree);
const struct tern_json_value *tern_json_root(const struct tern_json_tree *tree);
void tern_json_free(struct tern_json_tree *tree);

/* The member of an object, or NULL (also when `value` is NULL or no object). */
const struct tern_json_value *tern_json_get(const struct tern_json_value *value, const char *key);

#endif
