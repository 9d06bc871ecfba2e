/* The classes of a map table's records under one unit's atoms.
 *
 * Each column is classified by classifiers of its own, distinct strings once; records with the same
 * tuple of column classes are one class. Classes are numbered by their first record, so the
 * numbering follows from the table and the set of atoms alone: a section written once stays right
 * as long as both stay. The section keeps one record of each class, from which its signature is
 * found again. */
#ifndef TERN_COMPILE_CLASSES_H
#define TERN_COMPILE_CLASSES_H

#include "controlplane/compile/classifier.h"
#include "controlplane/compile/compile.h"

struct tern_classes {         /* zero-initialise */
    struct tern_list columns; /* its classifiers; private */
    uint32_t class_count;     /* of records: unit classes are 2 + these */
    uint32_t *tuples; /* class_count × columns.count: the class of each column classifier */
    uint32_t *order;  /* the classes sorted by tuple, for few toggles between neighbours */
};

/* What the classes of `unit` depend on besides the code. */
int tern_classes_hash(const struct tern_compile_input *input, const struct tern_compiled_unit *unit,
                      uint8_t hash[16]);

/* Builds the classes of every record into `out` (a classes section), or takes them from `existing`
 * when it is not NULL. 0; TERN_ENOMEM; TERN_EINVAL when table and configuration disagree;
 * TERN_ECORRUPT when `existing` does not fit the table. */
int tern_classes_build(struct tern_classes *classes, const struct tern_compile_input *input,
                       const struct tern_compiled_unit *unit, const uint8_t hash[16],
                       const void *existing, size_t existing_length, struct tern_buffer *out);

/* The atoms in which two classes differ (UINT32_MAX: the class in which none holds), by `toggle`.
 * Stops at the first failure of `toggle` and returns it. */
int tern_classes_difference(const struct tern_classes *classes, uint32_t from, uint32_t to,
                            int (*toggle)(void *context, uint32_t atom), void *context);

void tern_classes_free(struct tern_classes *classes);

#endif
