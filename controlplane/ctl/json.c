#include "controlplane/ctl/json.h"

#include "controlplane/log.h"
#include "shared/error.h"
#include "shared/utf8.h"

#include <math.h>

/* --- Writing ------------------------------------------------------------------------------------
 */

static void note(struct tern_json *json, int rc)
{
    json->failed |= rc != 0;
}

static void begin_value(struct tern_json *json, const char *key)
{
    if (json->comma)
        note(json, tern_buffer_append(&json->buffer, ",", 1));
    if (key != NULL) {
        note(json, tern_buffer_json_string(&json->buffer, key, strlen(key)));
        note(json, tern_buffer_append(&json->buffer, ":", 1));
    }
    json->comma = true;
}

static void open_nest(struct tern_json *json, const char *key, const char *bracket)
{
    begin_value(json, key);
    note(json, tern_buffer_append(&json->buffer, bracket, 1));
    json->comma = false;
}

static void close_nest(struct tern_json *json, const char *bracket)
{
    note(json, tern_buffer_append(&json->buffer, bracket, 1));
    json->comma = true;
}

void tern_json_object(struct tern_json *json, const char *key)
{
    open_nest(json, key, "{");
}

void tern_json_object_end(struct tern_json *json)
{
    close_nest(json, "}");
}

void tern_json_array(struct tern_json *json, const char *key)
{
    open_nest(json, key, "[");
}

void tern_json_array_end(struct tern_json *json)
{
    close_nest(json, "]");
}

void tern_json_text(struct tern_json *json, const char *key, const void *text, size_t length)
{
    begin_value(json, key);
    note(json, tern_buffer_json_string(&json->buffer, text, length));
}

void tern_json_string(struct tern_json *json, const char *key, const char *text)
{
    if (text == NULL)
        tern_json_null(json, key);
    else
        tern_json_text(json, key, text, strlen(text));
}

void tern_json_u64(struct tern_json *json, const char *key, uint64_t value)
{
    begin_value(json, key);
    note(json, tern_buffer_printf(&json->buffer, "%llu", (unsigned long long)value));
}

void tern_json_i64(struct tern_json *json, const char *key, int64_t value)
{
    begin_value(json, key);
    note(json, tern_buffer_printf(&json->buffer, "%lld", (long long)value));
}

void tern_json_double(struct tern_json *json, const char *key, double value)
{
    if (!isfinite(value)) {
        tern_json_null(json, key);
        return;
    }
    begin_value(json, key);
    note(json, tern_buffer_printf(&json->buffer, "%.9g", value));
}

void tern_json_float(struct tern_json *json, const char *key, float value)
{
    char text[32];

    if (!isfinite(value)) {
        tern_json_null(json, key);
        return;
    }
    /* Nine digits tell every f32 apart; most need fewer. */
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    begin_value(json, key);
    note(json, tern_buffer_printf(&json->buffer, "%s", text));
}

void tern_json_bool(struct tern_json *json, const char *key, bool value)
{
    begin_value(json, key);
    note(json, tern_buffer_printf(&json->buffer, "%s", value ? "true" : "false"));
}

void tern_json_null(struct tern_json *json, const char *key)
{
    begin_value(json, key);
    note(json, tern_buffer_append(&json->buffer, "null", 4));
}

void tern_json_time(struct tern_json *json, const char *key, uint64_t at_us)
{
    char text[TERN_TIME_TEXT];

    if (at_us == 0) {
        tern_json_null(json, key);
        return;
    }
    tern_time_format(at_us, text);
    tern_json_string(json, key, text);
}

void tern_json_print(struct tern_json *json)
{
    if (json->failed)
        fputs("ternctl: out of memory\n", stderr);
    else
        printf("%.*s\n", (int)json->buffer.length, (const char *)json->buffer.data);
    tern_buffer_free(&json->buffer);
}

/* --- Reading ------------------------------------------------------------------------------------
 */

/* Values and texts live in blocks freed together. */
struct block {
    struct block *next;
    max_align_t data[];
};

struct tern_json_tree {
    struct block *blocks;
    struct tern_json_value *root;
};

struct parser {
    struct tern_json_tree *tree;
    const char *at, *end;
    unsigned depth;
    int rc; /* the first failure */
};

static void *allocate(struct parser *parser, size_t bytes)
{
    struct block *block = calloc(1, sizeof *block + bytes);

    if (block == NULL) {
        parser->rc = TERN_ENOMEM;
        return NULL;
    }
    block->next = parser->tree->blocks;
    parser->tree->blocks = block;
    return block->data;
}

static void *refuse(struct parser *parser)
{
    if (parser->rc == 0)
        parser->rc = TERN_EINVAL;
    return NULL;
}

static void skip_space(struct parser *parser)
{
    while (parser->at < parser->end && strchr(" \t\r\n", *parser->at) != NULL &&
           *parser->at != '\0')
        parser->at++;
}

static bool accept(struct parser *parser, char c)
{
    skip_space(parser);
    if (parser->at == parser->end || *parser->at != c)
        return false;
    parser->at++;
    return true;
}

static int hex4(struct parser *parser, uint32_t *code)
{
    uint32_t value = 0;

    if (parser->end - parser->at < 4)
        return TERN_EINVAL;
    for (int i = 0; i < 4; i++) {
        char c = *parser->at++;

        if (c >= '0' && c <= '9')
            value = value * 16 + (uint32_t)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            value = value * 16 + (uint32_t)((c | 32) - 'a' + 10);
        else
            return TERN_EINVAL;
    }
    *code = value;
    return 0;
}

/* \uXXXX past its `u`, surrogate pairs joined; half ones become U+FFFD. */
static int unicode_escape(struct parser *parser, uint32_t *code)
{
    uint32_t low;

    if (hex4(parser, code) != 0)
        return TERN_EINVAL;
    if (*code >= 0xd800 && *code < 0xdc00 && parser->end - parser->at >= 6 &&
        parser->at[0] == '\\' && parser->at[1] == 'u') {
        parser->at += 2;
        if (hex4(parser, &low) != 0)
            return TERN_EINVAL;
        *code = low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00)
                                              : 0xfffd;
    }
    if (*code >= 0xd800 && *code < 0xe000)
        *code = 0xfffd;
    return 0;
}

static char *parse_string(struct parser *parser)
{
    const char *close;
    char *text, *to;

    if (!accept(parser, '"'))
        return refuse(parser);
    for (close = parser->at; close < parser->end && *close != '"'; close++)
        if (*close == '\\')
            close++;
    if (close >= parser->end)
        return refuse(parser);
    /* An escape is never shorter than what it stands for. */
    text = to = allocate(parser, (size_t)(close - parser->at) + 1);
    if (text == NULL)
        return NULL;
    while (parser->at < close) {
        static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
        const char *escape;
        uint32_t code;

        if (*parser->at != '\\') {
            *to++ = *parser->at++;
            continue;
        }
        parser->at++;
        if (*parser->at == 'u') {
            parser->at++;
            if (unicode_escape(parser, &code) != 0)
                return refuse(parser);
            to = (char *)tern_utf8_put((uint8_t *)to, code != 0 ? code : 0xfffd);
            continue;
        }
        escape = strchr(from, *parser->at);
        if (escape == NULL || *escape == '\0')
            return refuse(parser);
        *to++ = into[escape - from];
        parser->at++;
    }
    parser->at = close + 1;
    return text;
}

static struct tern_json_value *parse_value(struct parser *parser);

static struct tern_json_value *parse_nest(struct parser *parser, struct tern_json_value *value,
                                          char closing)
{
    struct tern_json_value **link = &value->child;

    if (++parser->depth > TERN_JSON_DEPTH_MAX)
        return refuse(parser);
    value->kind = closing == '}' ? TERN_JSON_OBJECT : TERN_JSON_ARRAY;
    if (!accept(parser, closing)) {
        do {
            const char *key = NULL;

            if (closing == '}') {
                key = parse_string(parser);
                if (key == NULL || !accept(parser, ':'))
                    return refuse(parser);
            }
            *link = parse_value(parser);
            if (*link == NULL)
                return NULL;
            (*link)->key = key;
            link = &(*link)->next;
        } while (accept(parser, ','));
        if (!accept(parser, closing))
            return refuse(parser);
    }
    parser->depth--;
    return value;
}

static struct tern_json_value *parse_word(struct parser *parser, struct tern_json_value *value)
{
    static const struct {
        const char *word;
        enum tern_json_kind kind;
        bool boolean;
    } words[] = {{"null", TERN_JSON_NULL, false},
                 {"true", TERN_JSON_BOOL, true},
                 {"false", TERN_JSON_BOOL, false}};

    for (unsigned i = 0; i < TERN_COUNT(words); i++) {
        size_t length = strlen(words[i].word);

        if ((size_t)(parser->end - parser->at) >= length &&
            memcmp(parser->at, words[i].word, length) == 0) {
            parser->at += length;
            value->kind = words[i].kind;
            value->boolean = words[i].boolean;
            value->text = words[i].word;
            return value;
        }
    }
    return refuse(parser);
}

static struct tern_json_value *parse_number(struct parser *parser, struct tern_json_value *value)
{
    size_t length = 0, left = (size_t)(parser->end - parser->at);
    char *text, *end;

    while (length < left && length < 64 && strchr("+-.0123456789eE", parser->at[length]) != NULL &&
           parser->at[length] != '\0')
        length++;
    text = allocate(parser, length + 1);
    if (text == NULL)
        return NULL;
    memcpy(text, parser->at, length);
    value->kind = TERN_JSON_NUMBER;
    value->text = text;
    value->number = strtod(text, &end);
    if (length == 0 || *end != '\0')
        return refuse(parser);
    parser->at += length;
    return value;
}

static struct tern_json_value *parse_value(struct parser *parser)
{
    struct tern_json_value *value = allocate(parser, sizeof *value);

    if (value == NULL)
        return NULL;
    skip_space(parser);
    if (parser->at == parser->end)
        return refuse(parser);
    switch (*parser->at) {
    case '{':
        parser->at++;
        return parse_nest(parser, value, '}');
    case '[':
        parser->at++;
        return parse_nest(parser, value, ']');
    case '"':
        value->kind = TERN_JSON_STRING;
        value->text = parse_string(parser);
        return value->text != NULL ? value : NULL;
    case 'n':
    case 't':
    case 'f':
        return parse_word(parser, value);
    default:
        return parse_number(parser, value);
    }
}

int tern_json_parse(const char *text, size_t length, struct tern_json_tree **out)
{
    struct tern_json_tree *tree = calloc(1, sizeof *tree);
    struct parser parser = {.tree = tree, .at = text, .end = text + length};

    if (tree == NULL)
        return TERN_ENOMEM;
    tree->root = parse_value(&parser);
    skip_space(&parser);
    if (parser.rc == 0 && parser.at != parser.end)
        parser.rc = TERN_EINVAL;
    if (parser.rc != 0) {
        tern_json_free(tree);
        return parser.rc;
    }
    *out = tree;
    return 0;
}

const struct tern_json_value *tern_json_root(const struct tern_json_tree *tree)
{
    return tree->root;
}

void tern_json_free(struct tern_json_tree *tree)
{
    if (tree == NULL)
        return;
    while (tree->blocks != NULL) {
        struct block *block = tree->blocks;

        tree->blocks = block->next;
        free(block);
    }
    free(tree);
}

const struct tern_json_value *tern_json_get(const struct tern_json_value *value, const char *key)
{
    if (value == NULL || value->kind != TERN_JSON_OBJECT)
        return NULL;
    for (const struct tern_json_value *child = value->child; child != NULL; child = child->next)
        if (strcmp(child->key, key) == 0)
            return child;
    return NULL;
}
