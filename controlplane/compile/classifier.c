#include "controlplane/compile/classifier.h"

int tern_classifier_build(struct tern_classifier *classifier, enum tern_unit_kind kind,
                          enum tern_type type, const struct tern_unit_atom *atoms,
                          const uint32_t *indexes, uint32_t count, uint32_t there)
{
    int status = tern_signatures_start(&classifier->signatures, there);
    uint32_t class;

    classifier->kind = (uint8_t)kind;
    classifier->type = (uint8_t)type;
    if (status != 0)
        return status;
    switch (kind) {
    case TERN_UNIT_NUMBER:
    case TERN_UNIT_ADDRESS:
        return tern_classifier_intervals(classifier, atoms, indexes, count);
    case TERN_UNIT_STRING:
    case TERN_UNIT_SUFFIX:
        return tern_classifier_trie(classifier, atoms, indexes, count);
    case TERN_UNIT_SET:
        for (uint32_t i = 0; i < count && status == 0; i++)
            if (atoms[indexes[i]].kind == TERN_ATOM_IN_SET)
                status = tern_signatures_toggle(&classifier->signatures, indexes[i]);
        return status != 0 ? status : tern_signatures_commit(&classifier->signatures, &class);
    default:
        return 0;
    }
}

void tern_classifier_free(struct tern_classifier *classifier)
{
    tern_signatures_free(&classifier->signatures);
    tern_buffer_free(&classifier->bytes);
    memset(classifier, 0, sizeof *classifier);
}
