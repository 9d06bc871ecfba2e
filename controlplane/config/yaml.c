#include "controlplane/config/yaml.h"

#include <yaml.h>

struct parse {
    yaml_parser_t parser;
    const char *file;
    const char *text;
    size_t length;
    struct tern_memory *nodes;
    struct tern_memory *texts;
    struct tern_diagnostics *diagnostics;
    size_t node_count;
    /* libyaml counts characters, raw texts need bytes: marks only grow, so a cursor follows them.
     */
    size_t cursor_characters;
    size_t cursor_bytes;
    /* The path from the root to the open collection, and the last child of each. */
    struct tern_yaml_node *open[TERN_YAML_DEPTH_MAX];
    struct tern_yaml_node *last[TERN_YAML_DEPTH_MAX];
    unsigned depth;
    struct tern_yaml_node *root;
};

const char *tern_yaml_kind_name(enum tern_yaml_kind kind)
{
    switch (kind) {
    case TERN_YAML_SCALAR:
        return "a text";
    case TERN_YAML_SEQUENCE:
        return "a list";
    case TERN_YAML_MAPPING:
        return "a mapping";
    default:
        return "nothing";
    }
}

static struct tern_place place_of(const struct parse *parse, const yaml_mark_t *mark)
{
    return (struct tern_place){parse->file, (uint32_t)mark->line + 1, (uint32_t)mark->column + 1};
}

#define REPORT(parse, place, ...)                                                                  \
    tern_diagnostics_add((parse)->diagnostics, TERN_SEVERITY_ERROR, place, __VA_ARGS__)

/* ---- Bytes: what no YAML parser needs to see ---- */

/* The length of the UTF-8 sequence at `at` (Unicode 15, table 3-7), 0 when there is none. */
static size_t utf8_length(const uint8_t *at, size_t room)
{
    static const struct {
        uint8_t first_low, first_high, second_low, second_high, length;
    } forms[] = {
        {0x00, 0x7f, 0x00, 0x00, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };

    for (size_t i = 0; i < TERN_COUNT(forms); i++) {
        if (at[0] < forms[i].first_low || at[0] > forms[i].first_high)
            continue;
        if (forms[i].length > room)
            return 0;
        if (forms[i].length > 1 && (at[1] < forms[i].second_low || at[1] > forms[i].second_high))
            return 0;
        for (size_t k = 2; k < forms[i].length; k++)
            if ((at[k] & 0xc0) != 0x80)
                return 0;
        return forms[i].length;
    }
    return 0;
}

/* Reports the first byte that cannot be in a text file. */
static int check_bytes(const struct parse *parse)
{
    const uint8_t *text = (const uint8_t *)parse->text;
    struct tern_place place = {parse->file, 1, 1};

    for (size_t i = 0; i < parse->length;) {
        size_t step = text[i] < 0x80 ? 1 : utf8_length(text + i, parse->length - i);

        if (step == 0) {
            REPORT(parse, place, "byte 0x%02x is not UTF-8; save the file as UTF-8", text[i]);
            return TERN_EINVAL;
        }
        if ((text[i] < 0x20 && text[i] != '\n' && text[i] != '\r' && text[i] != '\t') ||
            text[i] == 0x7f) {
            REPORT(parse, place, "byte 0x%02x (%s) does not belong in a text file", text[i],
                   text[i] == 0 ? "NUL" : "a control character");
            return TERN_EINVAL;
        }
        if (text[i] == '\n') {
            place.line++;
            place.column = 1;
        } else {
            place.column++;
        }
        i += step;
    }
    return 0;
}

static size_t byte_offset(struct parse *parse, size_t characters)
{
    while (parse->cursor_characters < characters && parse->cursor_bytes < parse->length) {
        parse->cursor_bytes++;
        while (parse->cursor_bytes < parse->length &&
               ((uint8_t)parse->text[parse->cursor_bytes] & 0xc0) == 0x80)
            parse->cursor_bytes++;
        parse->cursor_characters++;
    }
    return parse->cursor_bytes;
}

/* ---- Events to nodes ---- */

static struct tern_yaml_node *add_node(struct parse *parse, enum tern_yaml_kind kind,
                                       const yaml_mark_t *mark)
{
    struct tern_yaml_node *node = tern_memory_take(parse->nodes, sizeof *node);

    if (node == NULL)
        return NULL;
    node->kind = kind;
    node->place = place_of(parse, mark);
    parse->node_count++;
    if (parse->depth == 0) {
        parse->root = node;
        return node;
    }
    if (parse->last[parse->depth - 1] == NULL)
        parse->open[parse->depth - 1]->first = node;
    else
        parse->last[parse->depth - 1]->next = node;
    parse->last[parse->depth - 1] = node;
    parse->open[parse->depth - 1]->count++; /* of a mapping: halved when it ends */
    return node;
}

static bool is_key(const struct parse *parse)
{
    const struct tern_yaml_node *parent = parse->depth > 0 ? parse->open[parse->depth - 1] : NULL;

    return parent != NULL && parent->kind == TERN_YAML_MAPPING && parent->count % 2 == 0;
}

/* Anchors and tags are reported once and otherwise passed over, so that later errors show too. */
static void check_properties(struct parse *parse, const yaml_mark_t *mark,
                             const yaml_char_t *anchor, const yaml_char_t *tag)
{
    static const char standard_tags[] = "tag:yaml.org,2002:"; /* what !! stands for */

    if (anchor != NULL)
        REPORT(parse, place_of(parse, mark),
               "anchor '&%s': anchors and aliases are not part of a configuration; write the value "
               "out (or quote a text that begins with '&')",
               (const char *)anchor);
    if (tag != NULL) {
        const char *written = (const char *)tag;
        bool standard = strncmp(written, standard_tags, strlen(standard_tags)) == 0;

        REPORT(parse, place_of(parse, mark),
               "tag '%s%s': tags are not part of a configuration; the type of a value comes from "
               "its key (quote a text that begins with '!')",
               standard ? "!!" : "", standard ? written + strlen(standard_tags) : written);
    }
}

/* The first content line of a block scalar follows its header; its indentation is that of the least
 * indented line (an explicit indicator only matters when every line is indented further). */
static void place_block(struct tern_text *text)
{
    const char *at = text->raw, *end = text->raw + text->raw_length;
    uint32_t least = UINT32_MAX;

    while (at < end && *at != '\n')
        at++;
    at += at < end;
    text->raw_length = (size_t)(end - at);
    text->raw = at;
    while (at < end) {
        uint32_t spaces = 0;

        while (at < end && *at == ' ') {
            at++;
            spaces++;
        }
        if (at < end && *at != '\n' && *at != '\r' && spaces < least)
            least = spaces;
        while (at < end && *at != '\n')
            at++;
        at += at < end;
    }
    text->place.line++;
    text->place.column = text->block_column = least == UINT32_MAX ? 1 : least + 1;
}

static int add_scalar(struct parse *parse, const yaml_event_t *event)
{
    bool key = is_key(parse);
    struct tern_yaml_node *node = add_node(parse, TERN_YAML_SCALAR, &event->start_mark);
    size_t start = byte_offset(parse, event->start_mark.index);
    size_t end = byte_offset(parse, event->end_mark.index);

    if (node == NULL)
        return TERN_ENOMEM;
    check_properties(parse, &event->start_mark, event->data.scalar.anchor, event->data.scalar.tag);
    node->text.length = event->data.scalar.length;
    node->text.text =
        tern_memory_copy(parse->texts, (const char *)event->data.scalar.value, node->text.length);
    if (node->text.text == NULL)
        return TERN_ENOMEM;
    node->text.place = node->place;
    node->text.raw = parse->text + start;
    node->text.raw_length = end - start;
    switch (event->data.scalar.style) {
    case YAML_SINGLE_QUOTED_SCALAR_STYLE:
    case YAML_DOUBLE_QUOTED_SCALAR_STYLE:
        node->text.style = event->data.scalar.style == YAML_SINGLE_QUOTED_SCALAR_STYLE
                               ? TERN_TEXT_SINGLE_QUOTED
                               : TERN_TEXT_DOUBLE_QUOTED;
        if (node->text.raw_length >= 2) { /* without the quotes */
            node->text.raw++;
            node->text.raw_length -= 2;
        }
        node->text.place.column++;
        break;
    case YAML_LITERAL_SCALAR_STYLE:
    case YAML_FOLDED_SCALAR_STYLE:
        node->text.style = event->data.scalar.style == YAML_LITERAL_SCALAR_STYLE ? TERN_TEXT_LITERAL
                                                                                 : TERN_TEXT_FOLDED;
        place_block(&node->text);
        break;
    default:
        node->text.style = TERN_TEXT_PLAIN;
        break;
    }
    if (memchr(node->text.text, 0, node->text.length) != NULL) { /* "\0" */
        REPORT(parse, node->place, "a text with a NUL character in it");
        node->kind = TERN_YAML_BROKEN;
    }
    if (key && node->text.style == TERN_TEXT_PLAIN && strcmp(node->text.text, "<<") == 0) {
        REPORT(parse, node->place,
               "merge key '<<': merging is not part of a configuration; write the keys out");
        node->kind = TERN_YAML_BROKEN;
    }
    return 0;
}

static int open_collection(struct parse *parse, enum tern_yaml_kind kind, const yaml_event_t *event,
                           const yaml_char_t *anchor, const yaml_char_t *tag)
{
    bool key = is_key(parse);
    struct tern_yaml_node *node = add_node(parse, kind, &event->start_mark);

    if (node == NULL)
        return TERN_ENOMEM;
    check_properties(parse, &event->start_mark, anchor, tag);
    if (key)
        REPORT(parse, node->place, "a key must be a name, not %s%s", tern_yaml_kind_name(kind),
               kind == TERN_YAML_MAPPING ? " (quote a text that begins with '{')" : "");
    if (parse->depth == TERN_YAML_DEPTH_MAX) {
        REPORT(parse, node->place, "nested deeper than %d levels", TERN_YAML_DEPTH_MAX);
        return TERN_EINVAL;
    }
    parse->open[parse->depth] = node;
    parse->last[parse->depth] = NULL;
    parse->depth++;
    return 0;
}

static void close_collection(struct parse *parse)
{
    struct tern_yaml_node *node = parse->open[--parse->depth];
    struct tern_yaml_node *parent = parse->depth > 0 ? parse->open[parse->depth - 1] : NULL;

    if (node->kind == TERN_YAML_MAPPING)
        node->count /= 2;
    if (parent != NULL && parent->kind == TERN_YAML_MAPPING && parent->count % 2 == 1)
        node->kind = TERN_YAML_BROKEN; /* it was a key */
}

static int add_alias(struct parse *parse, const yaml_event_t *event)
{
    REPORT(parse, place_of(parse, &event->start_mark),
           "alias '*%s': anchors and aliases are not part of a configuration; write the value out "
           "(or quote a text that begins with '*')",
           (const char *)event->data.alias.anchor);
    return add_node(parse, TERN_YAML_BROKEN, &event->start_mark) == NULL ? TERN_ENOMEM : 0;
}

static int start_document(struct parse *parse, const yaml_event_t *event)
{
    if (parse->root != NULL) {
        REPORT(parse, place_of(parse, &event->start_mark),
               "a second document begins here; a configuration is one document");
        return TERN_EINVAL;
    }
    if (event->data.document_start.version_directive != NULL ||
        event->data.document_start.tag_directives.start !=
            event->data.document_start.tag_directives.end)
        REPORT(parse, place_of(parse, &event->start_mark),
               "directives (%%YAML, %%TAG) are not part of a configuration");
    return 0;
}

static int take_event(struct parse *parse, const yaml_event_t *event)
{
    if (parse->node_count == TERN_YAML_NODES_MAX) {
        REPORT(parse, place_of(parse, &event->start_mark), "more than %d values in one file",
               TERN_YAML_NODES_MAX);
        return TERN_EINVAL;
    }
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        return start_document(parse, event);
    case YAML_ALIAS_EVENT:
        return add_alias(parse, event);
    case YAML_SCALAR_EVENT:
        return add_scalar(parse, event);
    case YAML_SEQUENCE_START_EVENT:
        return open_collection(parse, TERN_YAML_SEQUENCE, event, event->data.sequence_start.anchor,
                               event->data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
        return open_collection(parse, TERN_YAML_MAPPING, event, event->data.mapping_start.anchor,
                               event->data.mapping_start.tag);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        close_collection(parse);
        return 0;
    default:
        return 0;
    }
}

/* ---- Syntax errors ---- */

/* What the writer most likely meant; libyaml's wording alone helps few. */
static const char *hint(const struct parse *parse)
{
    const char *problem = parse->parser.problem;
    size_t at = 0, line = parse->parser.problem_mark.line;
    size_t column = parse->parser.problem_mark.column;

    while (at < parse->length && (line > 0 || column > 0)) {
        if (line > 0)
            line -= parse->text[at] == '\n';
        else if (((uint8_t)parse->text[at] & 0xc0) != 0x80)
            column--;
        at++;
    }
    if (at < parse->length && parse->text[at] == '\t')
        return "; tabs cannot indent, use spaces";
    if (strstr(problem, "expected key") != NULL)
        return "; is a line indented differently from its neighbours?";
    if (strstr(problem, "quoted scalar") != NULL || strstr(problem, "end of stream") != NULL)
        return "; is a quote left open?";
    if (strstr(problem, "mapping values") != NULL || strstr(problem, "',' or") != NULL ||
        strstr(problem, "cannot start any token") != NULL)
        return "; put expressions and texts with special characters in quotes: when: '…'";
    return "";
}

static int syntax_error(struct parse *parse)
{
    const yaml_parser_t *parser = &parse->parser;
    struct tern_place place = place_of(parse, &parser->problem_mark);
    char context[160] = "";

    if (parser->error == YAML_MEMORY_ERROR)
        return TERN_ENOMEM;
    if (parser->error == YAML_READER_ERROR)
        place = (struct tern_place){parse->file, 0, 0};
    if (parser->context != NULL)
        snprintf(context, sizeof context, " %s", parser->context);
    if (parser->context != NULL && parser->context_mark.line != parser->problem_mark.line)
        snprintf(context, sizeof context, " %s that begins at line %zu", parser->context,
                 parser->context_mark.line + 1);
    REPORT(parse, place, "%s%s%s", parser->problem != NULL ? parser->problem : "not YAML", context,
           parser->problem != NULL ? hint(parse) : "");
    return TERN_EINVAL;
}

static int parse_events(struct parse *parse)
{
    for (;;) {
        yaml_event_t event;
        bool end;
        int result;

        if (!yaml_parser_parse(&parse->parser, &event))
            return syntax_error(parse);
        end = event.type == YAML_STREAM_END_EVENT;
        result = take_event(parse, &event);
        yaml_event_delete(&event);
        if (result != 0 || end)
            return result;
    }
}

int tern_yaml_parse(const char *file, const char *text, size_t length, struct tern_memory *nodes,
                    struct tern_memory *texts, struct tern_diagnostics *diagnostics,
                    struct tern_yaml_node **root)
{
    struct parse parse = {.file = file,
                          .text = text,
                          .length = length,
                          .nodes = nodes,
                          .texts = texts,
                          .diagnostics = diagnostics};
    int result;

    if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        parse.text += 3;
        parse.length -= 3;
    }
    result = check_bytes(&parse);
    if (result != 0)
        return result;
    if (!yaml_parser_initialize(&parse.parser))
        return TERN_ENOMEM;
    yaml_parser_set_encoding(&parse.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parse.parser, (const unsigned char *)parse.text, parse.length);
    result = parse_events(&parse);
    yaml_parser_delete(&parse.parser);
    if (result != 0)
        return result;
    if (parse.root == NULL) {
        REPORT(&parse, ((struct tern_place){file, 0, 0}),
               "the file is empty; a configuration begins with 'tern: 1'");
        return TERN_EINVAL;
    }
    *root = parse.root;
    return 0;
}
