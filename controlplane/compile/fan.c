#include "controlplane/compile/fan.h"

#define TRIALS 1024u /* fails for one in ten thousand sets of 48 leaves; then it is nodes */

/* The leaf that all tails fit, 0: none, or one that most of them waste: deeper down, where the long
 * ones have parted from the rest, those take less. Tails that part ways at once go no deeper. */
static unsigned leaf_words(const struct tern_fan_tail *tails, unsigned count)
{
    unsigned most = 0, wide = 0;
    bool parted = true;

    for (unsigned i = 0; i < count; i++) {
        most = tails[i].length > most ? tails[i].length : most;
        wide += tails[i].length > tern_trie_leaf_room(2);
        parted = parted && (i == 0 || tails[i].bytes[0] != tails[i - 1].bytes[0]);
    }
    if (most <= tern_trie_leaf_room(1))
        return 1;
    if (most <= tern_trie_leaf_room(2))
        return 2;
    return most <= tern_trie_leaf_room(4) && (parted || wide >= count / 2) ? 4 : 0;
}

/* The first `bytes` bytes; 0 past the end, as a look-up reads a value that ends there. */
static uint64_t window(const struct tern_fan_tail *tail, unsigned bytes)
{
    uint64_t word = 0;

    for (unsigned i = 0; i < bytes && i < tail->length; i++)
        word |= (uint64_t)tail->bytes[i] << 8 * i;
    return word;
}

/* Whether `bytes` bytes tell the tails apart (equal ones are neighbours). Of values that go on
 * behind a tail the bytes there are not known, so such a tail must have them all itself. */
static bool windows_part(const struct tern_fan_tail *tails, unsigned count, unsigned bytes)
{
    for (unsigned i = 0; i < count; i++)
        if ((!tails[i].exact && tails[i].length < bytes) ||
            (i > 0 && window(&tails[i], bytes) == window(&tails[i - 1], bytes)))
            return false;
    return true;
}

static bool slots_part(struct tern_fan *fan, const uint64_t *windows, unsigned count)
{
    uint64_t taken[4] = {0};

    for (unsigned i = 0; i < count; i++) {
        unsigned slot = tern_trie_fan_slot(fan->hash, windows[i]);

        if (taken[slot >> 6] >> (slot & 63) & 1)
            return false;
        taken[slot >> 6] |= 1ull << (slot & 63);
        fan->slots[i] = (uint8_t)slot;
    }
    return true;
}

/* Odd factors of 24 bits without pattern; the first, of one byte, is that byte. */
static uint32_t factor(uint32_t trial)
{
    uint32_t mixed = trial * 0x9e3779b9u;

    return trial == 0 ? 1 : ((mixed ^ mixed >> 15) * 0x85ebca6bu >> 8) | 1;
}

bool tern_fan_choose(struct tern_fan *fan, const struct tern_fan_tail *tails, unsigned count)
{
    uint64_t windows[TERN_TRIE_FAN];
    unsigned bytes = 1;

    fan->words = leaf_words(tails, count);
    if (fan->words == 0)
        return false;
    fan->kind = fan->words == 1   ? TERN_TRIE_FAN_1
                : fan->words == 2 ? TERN_TRIE_FAN_2
                                  : TERN_TRIE_FAN_4;
    while (!windows_part(tails, count, bytes))
        if (++bytes > sizeof *windows)
            return false;
    for (unsigned i = 0; i < count; i++)
        windows[i] = window(&tails[i], bytes);
    for (uint32_t trial = 0; trial < TRIALS; trial++) {
        fan->hash = tern_trie_fan_hash(factor(trial), bytes);
        if (slots_part(fan, windows, count))
            return true;
    }
    return false;
}
