/* Classes as signatures: which atoms hold. Written as a tape of toggles, so that ten thousand
 * nested ranges cost ten thousand steps and not their square.
 *
 * A classifier's builder walks its elementary values in order and toggles atoms on the way; every
 * state it commits gets a class, equal states the same one (Zobrist 1970: a state's hash is the XOR
 * of its atoms' random words). Class 0 is "missing" (no atom holds), class 1 "there, nothing else".
 */
#ifndef TERN_COMPILE_SIGNATURES_H
#define TERN_COMPILE_SIGNATURES_H

#include "controlplane/compile/digest.h"
#include "controlplane/compile/region.h"

/* state(class c) = XOR of the toggles of classes 0…c */
struct tern_signatures {
    struct tern_list starts;  /* u32 per class: its first toggle; the next class's start ends it */
    struct tern_list toggles; /* u32 atoms */
    struct tern_digest state; /* hash of the current state */
    size_t committed;         /* toggles that belong to classes */
    struct tern_digest_map classes;
};

/* Starts with class 0; atom `there` (UINT32_MAX: none) holds in class 1 and all later states. 0 or
 * TERN_ENOMEM. */
int tern_signatures_start(struct tern_signatures *signatures, uint32_t there);
/* Flips an atom in the current state. 0 or TERN_ENOMEM. */
int tern_signatures_toggle(struct tern_signatures *signatures, uint32_t atom);
/* The class of the current state, new if need be. 0 or TERN_ENOMEM. */
int tern_signatures_commit(struct tern_signatures *signatures, uint32_t *class);

static inline uint32_t tern_signatures_count(const struct tern_signatures *signatures)
{
    return (uint32_t)signatures->starts.count;
}

/* The toggles of one class. */
const uint32_t *tern_signatures_toggles(const struct tern_signatures *signatures, uint32_t class,
                                        size_t *count);
void tern_signatures_free(struct tern_signatures *signatures);

#endif
