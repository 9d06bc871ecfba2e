/* One JSON object a line, read without a tree: numbers of the vector go where they belong. RFC
 * 8259, strictly; of what is passed over only the ends are looked for. */
#include "controlplane/collections/rows_private.h"

#include "shared/number.h"
#include "shared/schema.h"
#include "shared/utf8.h"

#define DEPTH_MAX 32

struct json {
    uint8_t *start, *at, *end;
    struct tern_rows *rows;
    struct tern_error *error;
};

static int refuse(const struct json *json, const uint8_t *at, const char *reason)
{
    return tern_rows_fail(json->rows, json->rows->line, (uint32_t)(at - json->start) + 1,
                          TERN_EINVAL, reason, json->error);
}

static void skip_blanks(struct json *json)
{
    while (json->at < json->end && (*json->at == ' ' || *json->at == '\t' || *json->at == '\r'))
        json->at++;
}

static bool take(struct json *json, char letter)
{
    skip_blanks(json);
    if (json->at == json->end || *json->at != (uint8_t)letter)
        return false;
    json->at++;
    return true;
}

static int hex4(const uint8_t *at, const uint8_t *end, uint32_t *value)
{
    uint32_t read = 0;

    if (end - at < 4)
        return TERN_EINVAL;
    for (unsigned i = 0; i < 4; i++) {
        uint8_t letter = at[i];
        uint32_t digit = letter >= '0' && letter <= '9'   ? letter - '0' + 0u
                         : letter >= 'a' && letter <= 'f' ? letter - 'a' + 10u
                         : letter >= 'A' && letter <= 'F' ? letter - 'A' + 10u
                                                          : 16u;

        if (digit == 16)
            return TERN_EINVAL;
        read = read << 4 | digit;
    }
    *value = read;
    return 0;
}

/* What follows a backslash; what it stands for is never longer. */
static int take_escape(struct json *json, uint8_t **to)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const uint8_t *began = json->at - 1;
    const char *found;
    uint32_t point, low;

    if (json->at == json->end)
        return refuse(json, began, "the line ends inside a string: is the file cut off?");
    found = *json->at != 0 ? strchr(letters, *json->at) : NULL;
    if (found != NULL) {
        json->at++;
        *(*to)++ = (uint8_t)meanings[found - letters];
        return 0;
    }
    if (*json->at != 'u' || hex4(json->at + 1, json->end, &point) != 0)
        return refuse(json, began, "there is no such escape in JSON");
    json->at += 5;
    if (point >= 0xd800 && point < 0xdc00 && json->end - json->at >= 6 && json->at[0] == '\\' &&
        json->at[1] == 'u' && hex4(json->at + 2, json->end, &low) == 0 && low >= 0xdc00 &&
        low < 0xe000) {
        point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
        json->at += 6;
    }
    if (point >= 0xd800 && point < 0xe000)
        return refuse(json, began, "half of a surrogate pair");
    *to = tern_utf8_put(*to, point);
    return 0;
}

/* The text of a string, decoded in place. */
static int take_string(struct json *json, uint8_t **text, size_t *length)
{
    uint8_t *to;

    skip_blanks(json);
    if (json->at == json->end || *json->at != '"')
        return refuse(json, json->at, "a string is expected");
    to = *text = ++json->at;
    while (json->at < json->end && *json->at != '"') {
        int rc;

        if (*json->at < 0x20)
            return refuse(json, json->at, "a control character inside a string");
        if (*json->at != '\\') {
            *to++ = *json->at++;
            continue;
        }
        json->at++;
        rc = take_escape(json, &to);
        if (rc != 0)
            return rc;
    }
    if (json->at == json->end)
        return refuse(json, json->at, "the line ends inside a string: is the file cut off?");
    json->at++;
    *length = (size_t)(to - *text);
    return 0;
}

/* Letters, digits and signs up to what ends them. */
static void take_word(struct json *json, uint8_t **text, size_t *length)
{
    skip_blanks(json);
    *text = json->at;
    while (json->at < json->end && *json->at != ',' && *json->at != ']' && *json->at != '}' &&
           *json->at != ' ' && *json->at != '\t' && *json->at != '\r')
        json->at++;
    *length = (size_t)(json->at - *text);
}

static int take_vector(struct json *json)
{
    const struct tern_rows *rows = json->rows;
    const uint8_t *began;
    uint32_t count = 0;

    skip_blanks(json);
    began = json->at;
    if (!take(json, '['))
        return refuse(json, began, "the vector is an array of numbers");
    if (take(json, ']'))
        return refuse(json, began, "the vector is empty");
    do {
        uint8_t *text;
        size_t length;
        int rc;

        take_word(json, &text, &length);
        if (count == rows->shape.dim)
            return tern_rows_refuse(rows, (uint32_t)(text - json->start) + 1, json->error,
                                    "the vector has more than %u values",
                                    (unsigned)rows->shape.dim);
        rc = tern_number_parse_f32((const char *)text, length, &rows->vector[count]);
        if (rc != 0)
            return tern_rows_refuse(rows, (uint32_t)(text - json->start) + 1, json->error,
                                    "value %u of the vector, '%.*s', is %s", (unsigned)count,
                                    (int)tern_min_u64(length, 40), (const char *)text,
                                    rc == TERN_ELIMIT ? "too large for a float" : "no number");
        count++;
    } while (take(json, ','));
    if (!take(json, ']'))
        return refuse(json, json->at, "a comma or ] is expected: is the file cut off?");
    if (count != rows->shape.dim)
        return tern_rows_refuse(rows, (uint32_t)(began - json->start) + 1, json->error,
                                "the vector has %u values, the collection takes %u",
                                (unsigned)count, (unsigned)rows->shape.dim);
    return 0;
}

/* Any value, to its end. */
static int pass_over(struct json *json)
{
    unsigned depth = 0;

    do {
        uint8_t *text;
        size_t length;
        int rc;

        skip_blanks(json);
        if (json->at == json->end)
            return refuse(json, json->at, "the line ends inside a value: is the file cut off?");
        if (*json->at == '"') {
            rc = take_string(json, &text, &length);
            if (rc != 0)
                return rc;
        } else if (*json->at == '[' || *json->at == '{') {
            json->at++;
            if (++depth > DEPTH_MAX)
                return refuse(json, json->at, "nested too deeply");
        } else if (depth != 0 && (*json->at == ']' || *json->at == '}')) {
            json->at++;
            depth--;
        } else if (depth != 0 && (*json->at == ',' || *json->at == ':')) {
            json->at++;
        } else {
            take_word(json, &text, &length);
            if (length == 0)
                return refuse(json, json->at, "a value is expected");
        }
    } while (depth != 0);
    return 0;
}

static int take_payload(struct json *json, unsigned index)
{
    const struct tern_graph_column *column = &json->rows->shape.columns[index];
    bool quoted;
    struct tern_error reason;
    uint8_t *text;
    size_t length;
    int rc;

    skip_blanks(json);
    quoted = json->at < json->end && *json->at == '"';
    text = json->at;
    if (quoted) {
        rc = take_string(json, &text, &length);
        if (rc != 0)
            return rc;
    } else {
        take_word(json, &text, &length);
    }
    if (!quoted && length == 4 && memcmp(text, "null", 4) == 0)
        return 0;
    if (quoted != (column->type == TERN_TYPE_STRING))
        return tern_rows_refuse(json->rows, (uint32_t)(text - json->start) + 1, json->error,
                                "%s takes a %s, not %s", column->name,
                                tern_type_name((enum tern_type)column->type),
                                quoted ? "a string" : "this");
    rc = tern_rows_parse_value(column, text, length, &json->rows->payload[index], &reason);
    if (rc == 0 && quoted)
        json->rows->payload[index].present = true; /* "" is a value here */
    return rc == 0 ? 0
                   : tern_rows_refuse(json->rows, (uint32_t)(text - json->start) + 1, json->error,
                                      "%s: %s", column->name, reason.message);
}

/* A number, or the same as a string: JavaScript has no u64. */
static int take_id(struct json *json, uint64_t *id)
{
    uint8_t *text;
    size_t length;
    int rc = 0;

    skip_blanks(json);
    text = json->at;
    if (json->at < json->end && *json->at == '"')
        rc = take_string(json, &text, &length);
    else
        take_word(json, &text, &length);
    if (rc != 0)
        return rc;
    if (tern_number_parse_u64((const char *)text, length, id) != 0)
        return tern_rows_refuse(json->rows, (uint32_t)(text - json->start) + 1, json->error,
                                "expected an id, a whole number up to 2^64 - 1, found '%.*s'",
                                (int)tern_min_u64(length, 40), (const char *)text);
    return 0;
}

static bool is_named(const uint8_t *text, size_t length, const char *name)
{
    return length == strlen(name) && memcmp(text, name, length) == 0;
}

struct seen {
    bool id, vector;
    uint32_t columns;
};

static int take_member(struct json *json, struct tern_rows_row *row, struct seen *seen)
{
    struct tern_rows *rows = json->rows;
    const uint8_t *began;
    uint8_t *name;
    size_t length;
    bool again = false;
    int column, rc;

    skip_blanks(json);
    began = json->at;
    rc = take_string(json, &name, &length);
    if (rc != 0)
        return rc;
    if (!take(json, ':'))
        return refuse(json, json->at, "a colon is expected");
    column = tern_rows_find_column(rows, (const char *)name, length);
    if (is_named(name, length, "id")) {
        again = seen->id;
        seen->id = true;
        rc = again ? 0 : take_id(json, &row->id);
    } else if (rows->ids_only) {
        rc = pass_over(json);
    } else if (is_named(name, length, "vector")) {
        again = seen->vector;
        seen->vector = true;
        rc = again ? 0 : take_vector(json);
    } else if (column >= 0) {
        again = (seen->columns & 1u << column) != 0;
        seen->columns |= 1u << column;
        rc = again ? 0 : take_payload(json, (unsigned)column);
    } else {
        tern_rows_pass_over(rows, (const char *)name, length);
        rc = pass_over(json);
    }
    return again ? refuse(json, began, "the name is given twice") : rc;
}

int tern_rows_json_next(struct tern_rows *rows, struct tern_rows_row *row, struct tern_error *error)
{
    struct json json = {.rows = rows, .error = error};
    struct tern_error reason;
    struct seen seen = {0};
    int rc;

    do {
        rc = tern_lines_next(&rows->source, &rows->lines, &reason);
        rows->line = rows->lines.number;
        if (rc < 0)
            return tern_rows_fail(rows, rows->line, 0, rc == TERN_EINVAL ? TERN_ECORRUPT : rc,
                                  reason.message, error);
        if (rc == 0)
            return 0;
        json.start = json.at = rows->lines.text;
        json.end = rows->lines.text + rows->lines.length;
        skip_blanks(&json);
    } while (json.at == json.end);
    if (!take(&json, '{'))
        return refuse(&json, json.at, "a line holds one JSON object: { is expected");
    if (!take(&json, '}')) {
        do {
            rc = take_member(&json, row, &seen);
            if (rc != 0)
                return rc;
        } while (take(&json, ','));
        if (!take(&json, '}'))
            return refuse(&json, json.at, "a comma or } is expected: is the file cut off?");
    }
    skip_blanks(&json);
    if (json.at != json.end)
        return refuse(&json, json.at, "something follows the object");
    if (!seen.id || (!seen.vector && !rows->ids_only))
        return refuse(&json, json.start, seen.id ? "there is no \"vector\"" : "there is no \"id\"");
    return 1;
}
