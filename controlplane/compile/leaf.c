#include "controlplane/compile/normal.h"

bool tern_leaf_truth(const struct tern_leaf *leaf, const uint8_t *truth, uint8_t *stack)
{
    uint32_t depth = 0;

    for (uint32_t i = 0; i < leaf->length; i++) {
        uint32_t code = leaf->postfix[i], count = code & ~TERN_POSTFIX_OP;
        uint8_t value;

        switch (code & TERN_POSTFIX_OP) {
        case 0:
            stack[depth++] = truth[code];
            break;
        case TERN_POSTFIX_NOT:
            stack[depth - 1] = !stack[depth - 1];
            break;
        default:
            value = (code & TERN_POSTFIX_OP) == TERN_POSTFIX_AND;
            for (uint32_t j = 0; j < count; j++)
                if ((code & TERN_POSTFIX_OP) == TERN_POSTFIX_AND)
                    value &= stack[depth - 1 - j];
                else
                    value |= stack[depth - 1 - j];
            depth -= count;
            stack[depth++] = value;
        }
    }
    return stack[0];
}

/* Where the operands of the operator at `at` end, first one first; `ends` has room for all. */
static void operand_ends(uint32_t at, uint32_t count, const uint32_t *sizes, uint32_t *ends)
{
    uint32_t end = at;

    for (uint32_t i = count; i-- > 0;) {
        ends[i] = end - 1;
        end -= sizes[end - 1];
    }
}

struct text {
    const struct tern_compiled_unit *unit;
    const struct tern_leaf *leaf;
    uint32_t *sizes; /* of the subexpression that ends at each position */
    uint32_t *ends;
    size_t limit;
    struct tern_buffer *out;
};

static int append_cut(struct text *text, const void *bytes, size_t length)
{
    size_t room = text->limit > text->out->length ? text->limit - text->out->length : 0;
    int status;

    if (length <= room)
        return tern_buffer_append(text->out, bytes, length);
    status = room == 0 ? 0 : tern_buffer_append(text->out, bytes, room);
    if (status == 0 && room > 0)
        status = tern_buffer_printf(text->out, "...");
    text->limit = 0; /* nothing more */
    return status;
}

static int append_expression(struct text *text, uint32_t at, bool nested)
{
    uint32_t code = text->leaf->postfix[at], count = code & ~TERN_POSTFIX_OP;
    bool is_and = (code & TERN_POSTFIX_OP) == TERN_POSTFIX_AND;
    uint32_t *ends = text->ends;
    int status = 0;

    if (text->limit == 0)
        return 0;
    if ((code & TERN_POSTFIX_OP) == 0) {
        const struct tern_unit_atom *atom =
            (const struct tern_unit_atom *)text->unit->atoms.data + code;

        return append_cut(text, atom->text.bytes, atom->text.length);
    }
    if ((code & TERN_POSTFIX_OP) == TERN_POSTFIX_NOT) {
        status = append_cut(text, "not ", 4);
        return status != 0 ? status : append_expression(text, at - 1, true);
    }
    text->ends += count;
    operand_ends(at, count, text->sizes, ends);
    if (nested)
        status = append_cut(text, "(", 1);
    for (uint32_t i = 0; i < count && status == 0 && text->limit > 0; i++) {
        if (i > 0)
            status = append_cut(text, is_and ? " and " : " or ", is_and ? 5 : 4);
        if (status == 0)
            status = append_expression(text, ends[i], true);
    }
    if (nested && status == 0)
        status = append_cut(text, ")", 1);
    text->ends = ends;
    return status;
}

int tern_leaf_text(const struct tern_normal *normal, const struct tern_leaf *leaf, size_t limit,
                   struct tern_buffer *out)
{
    struct text text = {(const struct tern_compiled_unit *)normal->units.data + leaf->unit,
                        leaf,
                        calloc(leaf->length, 2 * sizeof(uint32_t)),
                        NULL,
                        out->length + limit,
                        out};
    uint32_t *sizes = text.sizes;
    int status;

    if (sizes == NULL)
        return TERN_ENOMEM;
    text.ends = sizes + leaf->length;
    for (uint32_t i = 0; i < leaf->length; i++) {
        uint32_t code = leaf->postfix[i], count = code & ~TERN_POSTFIX_OP;

        sizes[i] = 1;
        if ((code & TERN_POSTFIX_OP) == TERN_POSTFIX_NOT)
            count = 1;
        for (uint32_t j = 0; j < count && (code & TERN_POSTFIX_OP) != 0; j++)
            sizes[i] += sizes[i - sizes[i]];
    }
    status = append_expression(&text, leaf->length - 1, false);
    free(sizes);
    return status;
}
