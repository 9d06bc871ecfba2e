#include "controlplane/compile/regex_program.h"

struct states { /* without repetition */
    uint16_t list[TERN_REGEX_CODE_MAX];
    unsigned count;
    uint8_t in[TERN_REGEX_CODE_MAX];
};

static bool holds(uint16_t assertion, const uint8_t *value, size_t length, size_t at)
{
    bool before = at > 0 && tern_regex_is_word(value[at - 1]),
         after = at < length && tern_regex_is_word(value[at]);

    switch (assertion) {
    case AT_START:
        return at == 0;
    case AT_LINE_START:
        return at == 0 || (value[at - 1] == '\n' && at < length);
    case AT_END:
        return at == length || (at + 1 == length && value[at] == '\n');
    case AT_LINE_END:
        return at == length || value[at] == '\n';
    case AT_VERY_END:
        return at == length;
    case AT_WORD_EDGE:
        return before != after;
    default:
        return before == after;
    }
}

/* Adds a state and all that it reaches without a byte; true when a match is among them. */
static bool reach(const struct tern_regex *regex, struct states *states, unsigned from,
                  const uint8_t *value, size_t length, size_t at)
{
    uint16_t waiting[TERN_REGEX_CODE_MAX];
    unsigned count = 0;

    if (states->in[from])
        return false;
    states->in[from] = 1;
    waiting[count++] = (uint16_t)from;
    while (count > 0) {
        unsigned state = waiting[--count];
        struct tern_regex_instruction instruction = regex->code[state];
        unsigned next[2] = {state + 1, instruction.argument}, first = 0, last = 0;

        switch (instruction.operation) {
        case OP_SET:
            states->list[states->count++] = (uint16_t)state;
            continue;
        case OP_MATCH:
            return true;
        case OP_SPLIT:
            last = 2;
            break;
        case OP_JUMP:
            first = 1;
            last = 2;
            break;
        default:
            last = value != NULL && !holds(instruction.argument, value, length, at) ? 0 : 1;
            break;
        }
        for (unsigned i = first; i < last; i++)
            if (!states->in[next[i]]) {
                states->in[next[i]] = 1;
                waiting[count++] = (uint16_t)next[i];
            }
    }
    return false;
}

static void forget(const struct tern_regex *regex, struct states *states)
{
    states->count = 0;
    memset(states->in, 0, regex->code_count);
}

bool tern_regex_matches(const struct tern_regex *regex, const void *value, size_t length)
{
    const uint8_t *bytes = length > 0 ? value : (const uint8_t *)"";
    struct states both[2];
    struct states *now = &both[0], *next = &both[1];

    forget(regex, now);
    forget(regex, next);
    for (size_t at = 0;; at++) {
        struct states *swap = now;

        if ((regex->empty || (at < length && tern_byte_set_has(&regex->first, bytes[at]))) &&
            reach(regex, now, 0, bytes, length, at))
            return true;
        if (at == length)
            return false;
        if (now->count == 0) { /* what was reached ended at an assertion */
            if (now->in[0])
                forget(regex, now);
            continue;
        }
        for (unsigned i = 0; i < now->count; i++)
            if (tern_byte_set_has(&regex->sets[regex->code[now->list[i]].argument], bytes[at]) &&
                reach(regex, next, now->list[i] + 1u, bytes, length, at + 1))
                return true;
        now = next;
        next = swap;
        forget(regex, next);
    }
}

static void *shrink(void *array, size_t count, size_t size)
{
    void *less = realloc(array, (count + 1) * size);

    return less != NULL ? less : array;
}

int tern_regex_new(struct tern_regex **regex, const void *pattern, size_t length)
{
    struct tern_regex *made = calloc(1, sizeof *made);
    struct states states;
    int status;

    if (made == NULL)
        return TERN_ENOMEM;
    made->code = calloc(TERN_REGEX_CODE_MAX, sizeof *made->code);
    made->sets = calloc(TERN_REGEX_CODE_MAX, sizeof *made->sets);
    status = made->code == NULL || made->sets == NULL ? TERN_ENOMEM
                                                      : tern_regex_parse(made, pattern, length);
    if (status != 0) {
        tern_regex_free(made);
        return status;
    }
    made->code = shrink(made->code, made->code_count, sizeof *made->code);
    made->sets = shrink(made->sets, made->set_count, sizeof *made->sets);
    forget(made, &states);
    made->empty = reach(made, &states, 0, NULL, 0, 0);
    for (unsigned i = 0; i < states.count; i++)
        tern_byte_set_merge(&made->first, &made->sets[made->code[states.list[i]].argument]);
    *regex = made;
    return 0;
}

void tern_regex_free(struct tern_regex *regex)
{
    if (regex == NULL)
        return;
    free(regex->code);
    free(regex->sets);
    free(regex);
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static uint8_t pick(const struct tern_byte_set *set, uint64_t *random)
{
    unsigned start = 32 + (unsigned)(next_random(random) % 95); /* printable where there is one */

    for (unsigned i = 0; i < 256; i++)
        if (tern_byte_set_has(set, (start + i) & 255))
            return (uint8_t)(start + i);
    return 0;
}

size_t tern_regex_sample(const struct tern_regex *regex, uint64_t *random, uint8_t *out,
                         size_t room)
{
    unsigned state = 0;
    size_t length = 0;

    for (unsigned step = 0; step < 4 * TERN_REGEX_CODE_MAX && length < room; step++) {
        struct tern_regex_instruction instruction = regex->code[state];

        switch (instruction.operation) {
        case OP_MATCH:
            return length;
        case OP_SET:
            out[length++] = pick(&regex->sets[instruction.argument], random);
            state++;
            break;
        case OP_SPLIT:
            state = next_random(random) & 1 ? state + 1 : instruction.argument;
            break;
        case OP_JUMP:
            state = instruction.argument;
            break;
        default:
            state++;
        }
    }
    return length;
}
