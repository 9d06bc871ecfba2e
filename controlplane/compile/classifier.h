/* Builders of classifiers: the atoms over one value become its classes and the bytes that find
 * them. */
#ifndef TERN_COMPILE_CLASSIFIER_H
#define TERN_COMPILE_CLASSIFIER_H

#include "controlplane/compile/normal.h"
#include "controlplane/compile/signatures.h"
#include "shared/buffer.h"
#include "shared/rules/intervals.h"
#include "shared/rules/trie.h"

struct tern_classifier {               /* zero-initialise */
    uint8_t kind;                      /* enum tern_unit_kind, MAP excepted */
    uint8_t type;                      /* enum tern_type of the value */
    struct tern_signatures signatures; /* of its classes */
    struct tern_buffer bytes;          /* as they go into the section; empty for PRESENCE and SET */
};

/* Builds the classifier of `kind` over those `count` atoms (indexes into `atoms`) that it can
 * classify; `there` is the atom that holds whenever the value is there, UINT32_MAX for none. 0 or
 * TERN_ENOMEM. */
int tern_classifier_build(struct tern_classifier *classifier, enum tern_unit_kind kind,
                          enum tern_type type, const struct tern_unit_atom *atoms,
                          const uint32_t *indexes, uint32_t count, uint32_t there);
/* Writes other numbers for classes into packed bytes of a classifier of `kind`: codes[class]. */
void tern_classifier_recode(enum tern_unit_kind kind, uint8_t *bytes, const uint32_t *codes);

void tern_classifier_free(struct tern_classifier *classifier);

/* The parts of tern_classifier_build, one a file. */
int tern_classifier_intervals(struct tern_classifier *classifier,
                              const struct tern_unit_atom *atoms, const uint32_t *indexes,
                              uint32_t count);
int tern_classifier_trie(struct tern_classifier *classifier, const struct tern_unit_atom *atoms,
                         const uint32_t *indexes, uint32_t count);

#endif
