#include "controlplane/compile/regex_program.h"

#define STEPS_MAX 100000 /* a repetition parses what it repeats again */
#define DEPTH_MAX 50u

static void add(struct tern_byte_set *set, unsigned byte)
{
    set->bits[byte / 64] |= 1ull << (byte & 63);
}

static void add_range(struct tern_byte_set *set, unsigned first, unsigned last)
{
    for (unsigned byte = first; byte <= last; byte++)
        add(set, byte);
}

static void invert(struct tern_byte_set *set)
{
    for (unsigned i = 0; i < 4; i++)
        set->bits[i] = ~set->bits[i];
}

static void fold(struct tern_byte_set *set)
{
    for (unsigned byte = 'a'; byte <= 'z'; byte++)
        if (tern_byte_set_has(set, byte) || tern_byte_set_has(set, byte - 32)) {
            add(set, byte);
            add(set, byte - 32);
        }
}

struct flags {
    bool fold, dot_all, lines;
};

struct parsing {
    struct tern_regex *regex;
    const uint8_t *text;
    size_t length, at;
    struct flags flags;
    bool dry; /* only looking where something ends */
    int status;
    unsigned steps, depth;
};

static void parse_alternatives(struct parsing *parsing);

static void fail(struct parsing *parsing, int status)
{
    if (parsing->status == 0)
        parsing->status = status;
}

static int peek(const struct parsing *parsing, size_t ahead)
{
    return parsing->at + ahead < parsing->length ? parsing->text[parsing->at + ahead] : -1;
}

/* The next byte, passed over; at the end, a failure: the position never goes past it. */
static int take(struct parsing *parsing)
{
    if (parsing->at >= parsing->length) {
        fail(parsing, TERN_EINVAL);
        return -1;
    }
    return parsing->text[parsing->at++];
}

static bool accept(struct parsing *parsing, const char *word)
{
    size_t length = strlen(word);

    if (parsing->length - parsing->at < length ||
        memcmp(parsing->text + parsing->at, word, length) != 0)
        return false;
    parsing->at += length;
    return true;
}

static uint32_t emit(struct parsing *parsing, enum tern_regex_operation operation,
                     uint32_t argument)
{
    struct tern_regex *regex = parsing->regex;

    if (parsing->dry || parsing->status != 0)
        return 0;
    if (regex->code_count == TERN_REGEX_CODE_MAX) {
        fail(parsing, TERN_ENOTSUP);
        return 0;
    }
    regex->code[regex->code_count] =
        (struct tern_regex_instruction){(uint16_t)operation, (uint16_t)argument};
    return regex->code_count++;
}

static uint32_t here(const struct parsing *parsing)
{
    return parsing->regex->code_count;
}

static void aim(struct parsing *parsing, uint32_t instruction)
{
    if (!parsing->dry && parsing->status == 0)
        parsing->regex->code[instruction].argument = (uint16_t)here(parsing);
}

static void emit_set(struct parsing *parsing, const struct tern_byte_set *set)
{
    emit(parsing, OP_SET, parsing->regex->set_count);
    if (parsing->dry || parsing->status != 0)
        return;
    /* there are never more sets than instructions */
    parsing->regex->sets[parsing->regex->set_count++] = *set;
}

static int hex_value(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* \xHH, \xH, \x{…} */
static unsigned parse_hex(struct parsing *parsing)
{
    unsigned value = 0;
    bool braces = accept(parsing, "{");

    for (unsigned i = 0; i < 2 && hex_value(peek(parsing, 0)) >= 0; i++)
        value = value * 16 + (unsigned)hex_value(take(parsing));
    if (braces && !accept(parsing, "}"))
        fail(parsing, TERN_ENOTSUP);
    return value;
}

/* What follows a backslash, where it means bytes. */
static void parse_escape(struct parsing *parsing, struct tern_byte_set *set)
{
    struct tern_byte_set one = {{0}};
    int c = peek(parsing, 0);

    if (c < 0) {
        fail(parsing, TERN_EINVAL);
        return;
    }
    take(parsing);
    switch (c | 32) {
    case 'd':
        add_range(&one, '0', '9');
        break;
    case 'w':
        for (unsigned byte = 0; byte < 256; byte++)
            if (tern_regex_is_word(byte))
                add(&one, byte);
        break;
    case 's':
        add_range(&one, '\t', '\r');
        add(&one, ' ');
        break;
    default:
        break;
    }
    if ((c | 32) == 'd' || (c | 32) == 'w' || (c | 32) == 's') {
        if (c < 'a')
            invert(&one);
        tern_byte_set_merge(set, &one);
        return;
    }
    switch (c) {
    case 'n':
        add(set, '\n');
        break;
    case 'r':
        add(set, '\r');
        break;
    case 't':
        add(set, '\t');
        break;
    case 'f':
        add(set, '\f');
        break;
    case 'a':
        add(set, '\a');
        break;
    case 'e':
        add(set, 27);
        break;
    case 'x':
        add(set, parse_hex(parsing));
        break;
    default:
        if (tern_regex_is_word((unsigned)c) && c != '_')
            fail(parsing, TERN_ENOTSUP);
        add(set, (unsigned)c);
        break;
    }
}

static bool parse_posix(struct parsing *parsing, struct tern_byte_set *set)
{
    static const struct {
        const char *name;
        const char *ranges; /* pairs of first and last */
    } classes[] = {{"[:alpha:]", "azAZ"},    {"[:digit:]", "09"},      {"[:alnum:]", "azAZ09"},
                   {"[:upper:]", "AZ"},      {"[:lower:]", "az"},      {"[:space:]", "\t\r  "},
                   {"[:xdigit:]", "09afAF"}, {"[:word:]", "azAZ09__"}, {"[:blank:]", "\t\t  "},
                   {"[:punct:]", "!/:@[`{~"}};

    for (size_t i = 0; i < TERN_COUNT(classes); i++) {
        if (!accept(parsing, classes[i].name))
            continue;
        for (const char *range = classes[i].ranges; *range != '\0'; range += 2)
            add_range(set, (uint8_t)range[0], (uint8_t)range[1]);
        return true;
    }
    return false;
}

static void parse_class(struct parsing *parsing)
{
    struct tern_byte_set set = {{0}};
    bool negated = accept(parsing, "^"), first = true;

    while (parsing->status == 0 && (first || peek(parsing, 0) != ']')) {
        struct tern_byte_set low = {{0}};
        int c = peek(parsing, 0);
        bool single = true;

        first = false;
        if (c < 0) {
            fail(parsing, TERN_EINVAL);
            return;
        }
        if (c == '[' &&
            (peek(parsing, 1) == ':' || peek(parsing, 1) == '.' || peek(parsing, 1) == '=')) {
            if (!parse_posix(parsing, &set))
                fail(parsing, TERN_ENOTSUP);
            continue;
        }
        take(parsing);
        if (c == '\\') {
            int escaped = peek(parsing, 0);

            if (escaped == 'b') { /* in a class, a backspace */
                take(parsing);
                add(&low, '\b');
            } else {
                parse_escape(parsing, &low);
                single = escaped <= 0 || strchr("dDwWsS", escaped) == NULL;
            }
        } else {
            add(&low, (unsigned)c);
        }
        if (single && peek(parsing, 0) == '-' && peek(parsing, 1) >= 0 && peek(parsing, 1) != ']') {
            unsigned begin = 0, end;
            struct tern_byte_set high = {{0}};

            take(parsing);
            c = take(parsing);
            if (c == '\\')
                parse_escape(parsing, &high);
            else
                add(&high, (unsigned)c);
            while (begin < 255 && !tern_byte_set_has(&low, begin))
                begin++;
            for (end = 0; end < 255 && !tern_byte_set_has(&high, end);)
                end++;
            if (c == '[' || begin > end)
                fail(parsing, TERN_ENOTSUP);
            else
                add_range(&low, begin, end);
        }
        tern_byte_set_merge(&set, &low);
    }
    take(parsing);
    if (parsing->flags.fold)
        fold(&set);
    if (negated)
        invert(&set);
    emit_set(parsing, &set);
}

/* After "(?", letters that set flags; true when they end with `)`, so that they hold from here on.
 */
static bool parse_flags(struct parsing *parsing)
{
    bool on = true;

    for (;;) {
        int c = peek(parsing, 0);

        if (parsing->at < parsing->length)
            take(parsing);
        switch (c) {
        case '-':
            on = false;
            break;
        case 'i':
            parsing->flags.fold = on;
            break;
        case 's':
            parsing->flags.dot_all = on;
            break;
        case 'm':
            parsing->flags.lines = on;
            break;
        case ')':
            return true;
        case ':':
            return false;
        default:
            fail(parsing, TERN_ENOTSUP);
            return true;
        }
    }
}

/* After the parenthesis. */
static void parse_group(struct parsing *parsing)
{
    struct flags outside = parsing->flags;

    if (accept(parsing, "?#")) {
        while (peek(parsing, 0) >= 0 && peek(parsing, 0) != ')')
            take(parsing);
        if (!accept(parsing, ")"))
            fail(parsing, TERN_EINVAL);
        /* what would be repeated is the atom before the comment */
        if (peek(parsing, 0) > 0 && strchr("*+?{", peek(parsing, 0)) != NULL)
            fail(parsing, TERN_ENOTSUP);
        return;
    }
    if (accept(parsing, "?P<") || accept(parsing, "?<")) {
        if (peek(parsing, 0) == '=' || peek(parsing, 0) == '!')
            fail(parsing, TERN_ENOTSUP);
        while (peek(parsing, 0) >= 0 && peek(parsing, 0) != '>')
            take(parsing);
        if (!accept(parsing, ">"))
            fail(parsing, TERN_EINVAL);
    } else if (accept(parsing, "?")) {
        if (parse_flags(parsing))
            return; /* they hold to the end of the group around */
    } else if (peek(parsing, 0) == '*') {
        fail(parsing, TERN_ENOTSUP);
    }
    parse_alternatives(parsing);
    if (!accept(parsing, ")"))
        fail(parsing, TERN_EINVAL);
    parsing->flags = outside;
}

static void parse_atom(struct parsing *parsing)
{
    struct tern_byte_set set = {{0}};
    int c = take(parsing);

    if (c < 0)
        return;
    switch (c) {
    case '(':
        parse_group(parsing);
        return;
    case '[':
        parse_class(parsing);
        return;
    case '.':
        add(&set, '\n');
        if (parsing->flags.dot_all)
            set = (struct tern_byte_set){{0}};
        invert(&set);
        break;
    case '^':
        emit(parsing, OP_ASSERT, parsing->flags.lines ? AT_LINE_START : AT_START);
        return;
    case '$':
        emit(parsing, OP_ASSERT, parsing->flags.lines ? AT_LINE_END : AT_END);
        return;
    case '*':
    case '+':
    case '?':
        fail(parsing, TERN_EINVAL);
        return;
    case '\\':
        switch (peek(parsing, 0)) {
        case 'b':
            emit(parsing, OP_ASSERT, AT_WORD_EDGE);
            break;
        case 'B':
            emit(parsing, OP_ASSERT, AT_NO_WORD_EDGE);
            break;
        case 'A':
            emit(parsing, OP_ASSERT, AT_START);
            break;
        case 'Z':
            emit(parsing, OP_ASSERT, AT_END);
            break;
        case 'z':
            emit(parsing, OP_ASSERT, AT_VERY_END);
            break;
        default:
            parse_escape(parsing, &set);
            if (parsing->flags.fold)
                fold(&set);
            emit_set(parsing, &set);
            return;
        }
        take(parsing);
        return;
    default:
        add(&set, (unsigned)c);
        if (parsing->flags.fold)
            fold(&set);
        break;
    }
    emit_set(parsing, &set);
}

/* {n}, {n,}, {n,m}; false when it is none and so stands for itself. */
static bool parse_bounds(struct parsing *parsing, unsigned *least, unsigned *most)
{
    size_t at = parsing->at + 1;
    unsigned bounds[2] = {0, 0};

    for (unsigned i = 0; i < 2; i++) {
        bool digits = false;

        for (; at < parsing->length && parsing->text[at] >= '0' && parsing->text[at] <= '9'; at++) {
            bounds[i] = bounds[i] * 10 + (parsing->text[at] - '0');
            digits = true;
            if (bounds[i] > TERN_REGEX_CODE_MAX) {
                fail(parsing, TERN_ENOTSUP);
                return true;
            }
        }
        if (i == 0 && !digits)
            return false;
        if (i == 0 && at < parsing->length && parsing->text[at] == '}')
            bounds[1] = bounds[0];
        else if (i == 0 && (at >= parsing->length || parsing->text[at++] != ','))
            return false;
        else if (i == 1 && !digits)
            bounds[1] = UINT32_MAX;
        if (at < parsing->length && parsing->text[at] == '}')
            break;
        if (i == 1)
            return false;
    }
    if (parsing->text[at - 1] == ',')
        bounds[1] = UINT32_MAX;
    parsing->at = at + 1;
    *least = bounds[0];
    *most = bounds[1];
    if (bounds[1] < bounds[0])
        fail(parsing, TERN_EINVAL);
    return true;
}

static void parse_quantifier(struct parsing *parsing, unsigned *least, unsigned *most)
{
    *least = *most = 1;
    switch (peek(parsing, 0)) {
    case '*':
        take(parsing);
        *least = 0;
        *most = UINT32_MAX;
        break;
    case '+':
        take(parsing);
        *most = UINT32_MAX;
        break;
    case '?':
        take(parsing);
        *least = 0;
        break;
    case '{':
        if (parse_bounds(parsing, least, most))
            break;
        return;
    default:
        return;
    }
    if (accept(parsing, "?"))
        return; /* lazy: the same values match */
    if (peek(parsing, 0) == '+' || peek(parsing, 0) == '*' || peek(parsing, 0) == '?')
        fail(parsing, TERN_ENOTSUP);
}

/* An atom as often as its quantifier says: parsed once to see how often, then for each time. */
static void parse_repetition(struct parsing *parsing)
{
    struct flags flags = parsing->flags;
    size_t start = parsing->at, end;
    bool dry = parsing->dry;
    unsigned least, most, open = 0;
    uint32_t splits[TERN_REGEX_CODE_MAX / 16];

    if (++parsing->steps > STEPS_MAX || parsing->depth > DEPTH_MAX) {
        fail(parsing, TERN_ENOTSUP);
        return;
    }
    parsing->dry = true;
    parse_atom(parsing);
    parse_quantifier(parsing, &least, &most);
    parsing->dry = dry;
    end = parsing->at;
    if (dry || parsing->status != 0)
        return;
    for (unsigned i = 0; i < least && parsing->status == 0; i++) {
        parsing->at = start;
        parsing->flags = flags;
        parse_atom(parsing);
    }
    if (most == UINT32_MAX) {
        uint32_t split = emit(parsing, OP_SPLIT, 0);

        parsing->at = start;
        parsing->flags = flags;
        parse_atom(parsing);
        emit(parsing, OP_JUMP, split);
        aim(parsing, split);
    } else {
        for (unsigned i = least; i < most && parsing->status == 0; i++) {
            if (open == TERN_COUNT(splits)) {
                fail(parsing, TERN_ENOTSUP);
                break;
            }
            splits[open++] = emit(parsing, OP_SPLIT, 0);
            parsing->at = start;
            parsing->flags = flags;
            parse_atom(parsing);
        }
        while (open > 0)
            aim(parsing, splits[--open]);
    }
    if (least == 0 && most == 0)
        parsing->flags = flags;
    parsing->at = end;
}

static void parse_alternatives(struct parsing *parsing)
{
    uint32_t jumps[64];
    unsigned jump_count = 0;

    parsing->depth++;
    for (;;) {
        uint32_t split = emit(parsing, OP_SPLIT, 0);

        while (parsing->status == 0 && peek(parsing, 0) >= 0 && peek(parsing, 0) != '|' &&
               peek(parsing, 0) != ')')
            parse_repetition(parsing);
        if (parsing->status != 0)
            break;
        if (peek(parsing, 0) != '|') {
            /* the last one: its split leads nowhere else */
            if (!parsing->dry)
                parsing->regex->code[split] =
                    (struct tern_regex_instruction){OP_JUMP, (uint16_t)(split + 1)};
            break;
        }
        take(parsing);
        if (jump_count == TERN_COUNT(jumps)) {
            fail(parsing, TERN_ENOTSUP);
            break;
        }
        jumps[jump_count++] = emit(parsing, OP_JUMP, 0);
        aim(parsing, split);
    }
    while (jump_count > 0)
        aim(parsing, jumps[--jump_count]);
    parsing->depth--;
}

int tern_regex_parse(struct tern_regex *regex, const void *pattern, size_t length)
{
    struct parsing parsing = {.regex = regex, .text = pattern, .length = length};

    parse_alternatives(&parsing);
    if (parsing.status == 0 && parsing.at < length)
        fail(&parsing, TERN_EINVAL);
    emit(&parsing, OP_MATCH, 0);
    return parsing.status;
}
