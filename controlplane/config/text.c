/* From a byte of a scalar's text back to its place in the file. Each walker repeats what the YAML
 * parser did to the raw text (YAML 1.1, chapters 5 and 9), counting bytes instead of keeping them.
 */
#include "controlplane/config/config.h"

struct walk {
    const char *at, *end;
    struct tern_place place;
    size_t left; /* bytes of the text still to produce */
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_break(char c)
{
    return c == '\n' || c == '\r';
}

/* Steps over one character, whatever its bytes. */
static size_t step_character(struct walk *walk)
{
    const char *start = walk->at++;

    while (walk->at < walk->end && ((uint8_t)*walk->at & 0xc0) == 0x80)
        walk->at++;
    walk->place.column++;
    return (size_t)(walk->at - start);
}

static void step_break(struct walk *walk)
{
    if (*walk->at == '\r' && walk->at + 1 < walk->end && walk->at[1] == '\n')
        walk->at++;
    walk->at++;
    walk->place.line++;
    walk->place.column = 1;
}

static void step_blanks(struct walk *walk)
{
    while (walk->at < walk->end && is_blank(*walk->at))
        step_character(walk);
}

/* Steps over blanks and breaks; returns how many bytes they fold to, 0 when there is no break. */
static size_t step_fold(struct walk *walk)
{
    size_t breaks = 0;

    for (;;) {
        step_blanks(walk);
        if (walk->at == walk->end || !is_break(*walk->at))
            break;
        step_break(walk);
        breaks++;
    }
    return breaks == 1 ? 1 : breaks == 0 ? 0 : breaks - 1;
}

static size_t utf8_bytes(uint32_t code)
{
    return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}

/* Steps over an escape sequence of a double-quoted scalar; returns how many bytes it stands for. */
static size_t step_escape(struct walk *walk)
{
    char kind = walk->at + 1 < walk->end ? walk->at[1] : 0;
    unsigned digits = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
    uint32_t code = 0;

    step_character(walk);
    if (walk->at < walk->end && is_break(kind)) {
        step_break(walk);
        step_blanks(walk);
        return 0;
    }
    if (walk->at < walk->end)
        step_character(walk);
    for (; digits > 0 && walk->at < walk->end; digits--) {
        char c = *walk->at;

        code = code * 16 + (uint32_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
        step_character(walk);
    }
    switch (kind) {
    case 'x':
    case 'u':
    case 'U':
        return utf8_bytes(code);
    case 'N':
    case '_':
        return 2;
    case 'L':
    case 'P':
        return 3;
    default:
        return 1;
    }
}

static void walk_flow(struct walk *walk, enum tern_text_style style)
{
    while (walk->left > 0 && walk->at < walk->end) {
        struct walk before = *walk;
        size_t produced;

        if (style == TERN_TEXT_DOUBLE_QUOTED && *walk->at == '\\') {
            produced = step_escape(walk);
        } else if (style == TERN_TEXT_SINGLE_QUOTED && *walk->at == '\'') {
            step_character(walk);
            produced = walk->at < walk->end ? step_character(walk) : 1;
        } else if (is_blank(*walk->at) || is_break(*walk->at)) {
            produced = step_fold(walk);
            if (produced == 0) { /* only blanks, which stay */
                *walk = before;
                produced = step_character(walk);
            }
        } else {
            produced = step_character(walk);
        }
        if (produced > walk->left) { /* a byte inside of it: its beginning */
            *walk = before;
            return;
        }
        walk->left -= produced;
    }
}

static void step_indentation(struct walk *walk, uint32_t block_column)
{
    while (walk->at < walk->end && *walk->at == ' ' && walk->place.column < block_column)
        step_character(walk);
}

/* A folded block's breaks become a space, but stay beside lines that are indented further. */
static size_t step_folded_break(struct walk *walk, uint32_t block_column, bool indented)
{
    size_t breaks = 0;

    while (walk->at < walk->end && is_break(*walk->at)) {
        step_break(walk);
        step_indentation(walk, block_column);
        breaks++;
    }
    if (indented || walk->at == walk->end || is_blank(*walk->at))
        return breaks;
    return breaks == 1 ? 1 : breaks - 1;
}

static void walk_block(struct walk *walk, const struct tern_text *text)
{
    bool indented;

    walk->place.column = 1;
    step_indentation(walk, text->block_column);
    indented = walk->at < walk->end && is_blank(*walk->at);
    while (walk->left > 0 && walk->at < walk->end) {
        size_t produced;

        if (!is_break(*walk->at)) {
            produced = step_character(walk);
        } else if (text->style == TERN_TEXT_FOLDED) {
            produced = step_folded_break(walk, text->block_column, indented);
            indented = walk->at < walk->end && is_blank(*walk->at);
        } else {
            step_break(walk);
            step_indentation(walk, text->block_column);
            produced = 1;
        }
        walk->left -= produced < walk->left ? produced : walk->left;
    }
}

/* As if the text stood in the file as it is. */
static void walk_itself(struct walk *walk, const struct tern_text *text)
{
    if (text->text == NULL)
        return; /* not given */
    walk->at = text->text;
    walk->end = text->text + walk->left;
    while (walk->at < walk->end) {
        if (is_break(*walk->at)) {
            step_break(walk);
            walk->place.column = text->block_column > 0 ? text->block_column : 1;
        } else {
            step_character(walk);
        }
    }
}

struct tern_place tern_text_place(const struct tern_text *text, size_t offset)
{
    struct walk walk = {text->raw, NULL, text->place,
                        offset < text->length ? offset : text->length};

    if (text->raw != NULL)
        walk.end = text->raw + text->raw_length;
    if (text->raw == NULL) /* made by hand */
        walk_itself(&walk, text);
    else if (text->style == TERN_TEXT_LITERAL || text->style == TERN_TEXT_FOLDED)
        walk_block(&walk, text);
    else
        walk_flow(&walk, text->style);
    return walk.place;
}
