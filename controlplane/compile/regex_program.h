/* An expression as the program that the slow matcher runs; private to regex*.c. */
#ifndef TERN_COMPILE_REGEX_PROGRAM_H
#define TERN_COMPILE_REGEX_PROGRAM_H

#include "controlplane/compile/regex.h"

#define TERN_REGEX_CODE_MAX 2048u /* instructions; repetitions are written out */

enum tern_regex_operation {
    OP_SET,    /* a byte of sets[argument] */
    OP_SPLIT,  /* on to the next instruction and to `argument` */
    OP_JUMP,   /* to `argument` */
    OP_ASSERT, /* enum tern_regex_assertion */
    OP_MATCH,
};

enum tern_regex_assertion {
    AT_START,
    AT_LINE_START,
    AT_END, /* or before a last newline */
    AT_LINE_END,
    AT_VERY_END,
    AT_WORD_EDGE,
    AT_NO_WORD_EDGE,
};

struct tern_regex_instruction {
    uint16_t operation;
    uint16_t argument;
};

struct tern_byte_set {
    uint64_t bits[4];
};

struct tern_regex {
    struct tern_regex_instruction *code;
    struct tern_byte_set *sets;
    uint32_t code_count, set_count;
    struct tern_byte_set first; /* bytes that a match can begin with */
    bool empty;                 /* a match can begin without a byte */
};

static inline bool tern_byte_set_has(const struct tern_byte_set *set, unsigned byte)
{
    return set->bits[byte / 64] >> (byte & 63) & 1;
}

static inline void tern_byte_set_merge(struct tern_byte_set *set, const struct tern_byte_set *other)
{
    for (unsigned i = 0; i < 4; i++)
        set->bits[i] |= other->bits[i];
}

/* What \w stands for. */
static inline bool tern_regex_is_word(unsigned byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '_';
}

/* Fills code and sets, which have room for TERN_REGEX_CODE_MAX each. Errors as tern_regex_new. */
int tern_regex_parse(struct tern_regex *regex, const void *pattern, size_t length);

#endif
