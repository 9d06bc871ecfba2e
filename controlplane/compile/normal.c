#include "controlplane/compile/normal.h"

#include "controlplane/compile/atoms.h"

/* The tree of leaves of one rule, before expansion. */
struct term {
    bool is_leaf, is_or;
    uint32_t leaf;
    unsigned count;
    struct term **children;
};

struct conjunction { /* leaf indexes, by unit */
    uint32_t count;
    uint32_t leaves[];
};

struct expansion { /* a disjunction of distinct conjunctions */
    unsigned count;
    struct conjunction *items[TERN_CONJUNCTIONS_MAX];
};

struct builder {
    const struct tern_config *config;
    struct tern_normal *normal;
    struct tern_region scratch; /* of the rule at hand */
    struct tern_atoms atoms;
    struct tern_digest_map leaf_map;
    const struct tern_config_rule *rule;
    bool long_conjunction; /* the rule at hand has one with too many terms */
    int status;            /* the first failure; everything returns early once it is set */
};

static void *take(struct builder *builder, size_t bytes)
{
    void *taken = tern_region_take(&builder->scratch, bytes);

    if (taken == NULL)
        builder->status = TERN_ENOMEM;
    return taken;
}

static struct tern_leaf *leaf_at(const struct builder *builder, uint32_t index)
{
    return (struct tern_leaf *)builder->normal->leaves.data + index;
}

static uint32_t intern_leaf(struct builder *builder, uint32_t unit, const uint32_t *postfix,
                            uint32_t length)
{
    struct tern_digest digest = tern_digest_of(postfix, length * sizeof *postfix);
    struct tern_leaf *leaf;
    uint32_t *found, *kept;
    bool added;

    digest = tern_digest_of((uint64_t[]){digest.low, digest.high, unit}, 24);
    found = tern_digest_map_put(&builder->leaf_map, digest, (uint32_t)builder->normal->leaves.count,
                                &added);
    if (found != NULL && !added)
        return *found;
    kept = tern_region_take(&builder->normal->region, length * sizeof *postfix);
    leaf = tern_list_push(&builder->normal->leaves, sizeof *leaf);
    if (found == NULL || kept == NULL || leaf == NULL) {
        builder->status = TERN_ENOMEM;
        return 0;
    }
    memcpy(kept, postfix, length * sizeof *postfix);
    *leaf = (struct tern_leaf){unit, length, kept, false};
    return *found;
}

/* One leaf for several of the same unit. */
static uint32_t combine_leaves(struct builder *builder, const uint32_t *leaves, unsigned count,
                               uint32_t operator)
{
    uint32_t length = 1, at = 0, *postfix, unit = leaf_at(builder, leaves[0])->unit;

    for (unsigned i = 0; i < count; i++)
        length += leaf_at(builder, leaves[i])->length;
    postfix = take(builder, length * sizeof *postfix);
    if (postfix == NULL)
        return 0;
    for (unsigned i = 0; i < count; i++) {
        const struct tern_leaf *leaf = leaf_at(builder, leaves[i]);

        memcpy(postfix + at, leaf->postfix, leaf->length * sizeof *postfix);
        at += leaf->length;
    }
    postfix[at] = operator| count;
    return intern_leaf(builder, unit, postfix, length);
}

static struct term *leaf_term(struct builder *builder, uint32_t leaf)
{
    struct term *term = take(builder, sizeof *term);

    if (term != NULL)
        *term = (struct term){.is_leaf = true, .leaf = leaf};
    return term;
}

static bool has_hits(const struct builder *builder, uint32_t unit)
{
    return tern_unit_has_hits((const struct tern_compiled_unit *)builder->normal->units.data +
                              unit);
}

static bool is_negated(const struct builder *builder, uint32_t leaf)
{
    return leaf_at(builder, leaf)->length == 2;
}

/* Of the leaves of a unit with hits those become one that "one of these" or "none of these" can
 * say: what is positive under "or", what is negated under "and". Leaves the rest of the `count`
 * first, then that; returns how many there are now. */
static unsigned combine_hits(struct builder *builder, uint32_t *leaves, unsigned count, bool is_or)
{
    uint32_t unit = leaf_at(builder, leaves[0])->unit, postfix[2] = {0, TERN_POSTFIX_NOT};
    uint32_t *members = take(builder, count * sizeof *members);
    unsigned kept = 0, joined = 0;
    int status;

    if (members == NULL)
        return 0;
    for (unsigned i = 0; i < count; i++)
        if (is_negated(builder, leaves[i]) != is_or)
            members[joined++] = leaf_at(builder, leaves[i])->postfix[0];
        else
            leaves[kept++] = leaves[i];
    if (joined == 0)
        return kept;
    status = tern_atoms_any(&builder->atoms, unit, members, joined, &postfix[0]);
    if (status != 0) {
        builder->status = status;
        return 0;
    }
    leaves[kept++] = intern_leaf(builder, unit, postfix, is_or ? 1 : 2);
    return kept;
}

static int compare_by_unit(const void *left, const void *right, void *context)
{
    const struct builder *builder = context;
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    uint32_t unit_a = leaf_at(builder, a)->unit, unit_b = leaf_at(builder, b)->unit;

    if (unit_a != unit_b)
        return unit_a < unit_b ? -1 : 1;
    return (a > b) - (a < b);
}

/* Joins children under one connective: nested ones of the same kind are opened, leaves of one unit
 * become one. */
static struct term *join(struct builder *builder, bool is_or, struct term **children,
                         unsigned count)
{
    struct term *joined = take(builder, sizeof *joined);
    unsigned flat = 0, kept = 0, leaf_count = 0;
    uint32_t *leaves;

    for (unsigned i = 0; i < count; i++)
        flat += !children[i]->is_leaf && children[i]->is_or == is_or ? children[i]->count : 1;
    leaves = take(builder, flat * sizeof *leaves);
    if (joined == NULL || leaves == NULL)
        return NULL;
    joined->is_or = is_or;
    joined->children = take(builder, flat * sizeof(struct term *));
    if (joined->children == NULL)
        return NULL;
    for (unsigned i = 0; i < count; i++) {
        bool open = !children[i]->is_leaf && children[i]->is_or == is_or;
        unsigned inner = open ? children[i]->count : 1;

        for (unsigned j = 0; j < inner; j++) {
            struct term *child = open ? children[i]->children[j] : children[i];

            if (child->is_leaf)
                leaves[leaf_count++] = child->leaf;
            else
                joined->children[kept++] = child;
        }
    }
    qsort_r(leaves, leaf_count, sizeof *leaves, compare_by_unit, builder);
    for (unsigned i = 0; i < leaf_count;) {
        uint32_t unit = leaf_at(builder, leaves[i])->unit, leaf = leaves[i];
        unsigned same = 0, distinct = 0;

        while (i + same < leaf_count && leaf_at(builder, leaves[i + same])->unit == unit) {
            if (distinct == 0 || leaves[i + distinct - 1] != leaves[i + same])
                leaves[i + distinct++] = leaves[i + same];
            same++;
        }
        if (has_hits(builder, unit)) {
            unsigned left = combine_hits(builder, leaves + i, distinct, is_or);

            for (unsigned j = 0; j < left && builder->status == 0; j++)
                joined->children[kept++] = leaf_term(builder, leaves[i + j]);
            if (builder->status != 0)
                return NULL;
            i += same;
            continue;
        }
        if (distinct > 1)
            leaf = combine_leaves(builder, leaves + i, distinct,
                                  is_or ? TERN_POSTFIX_OR : TERN_POSTFIX_AND);
        joined->children[kept] = leaf_term(builder, leaf);
        if (joined->children[kept++] == NULL)
            return NULL;
        i += same;
    }
    joined->count = kept;
    return kept == 1 ? joined->children[0] : joined;
}

static int unit_of(struct builder *builder, const struct tern_atom *atom, uint32_t *unit)
{
    int status = tern_atoms_unit(&builder->atoms, atom, unit);

    if (status != 0 && builder->status == 0)
        builder->status = status;
    return builder->status;
}

/* Interns the atom under the text it stands for. `a != b` is kept as "a is there and not a == b",
 * so its atom is called `a == b`; the operator is the first "!=", as only names stand before it. */
static int intern_atom(struct builder *builder, const struct tern_node *node, uint32_t unit,
                       uint32_t *index)
{
    const char *source = builder->rule->when.text + node->offset;
    size_t length = node->end - node->offset;
    char *text, *sign;
    int status;

    if (node->atom.test != TERN_TEST_NE)
        return tern_atoms_intern(&builder->atoms, unit, &node->atom, source, length, index);
    text = strndup(source, length);
    if (text == NULL)
        return TERN_ENOMEM;
    sign = strstr(text, "!=");
    if (sign != NULL)
        sign[0] = '=';
    status = tern_atoms_intern(&builder->atoms, unit, &node->atom, text, length, index);
    free(text);
    return status;
}

/* The leaf of one atom or its opposite. */
static struct term *atom_term(struct builder *builder, uint32_t unit, uint32_t atom, bool negate)
{
    uint32_t postfix[2] = {atom, TERN_POSTFIX_NOT};
    uint32_t leaf = intern_leaf(builder, unit, postfix, negate ? 2 : 1);

    return builder->status != 0 ? NULL : leaf_term(builder, leaf);
}

/* The atom that the neighbours, or what they say, is there. */
static int intern_neighbours(struct builder *builder, const struct tern_operand *operand,
                             uint32_t unit, uint32_t *index)
{
    return tern_atoms_neighbours(&builder->atoms, unit,
                                 operand->column >= 0 ? TERN_ATOM_VOTED : TERN_ATOM_NEIGHBOURS,
                                 operand, index);
}

/* What is asked of neighbours: "a != b" is "a is there" and "not a == b", two leaves. */
static struct term *normalize_similar(struct builder *builder, const struct tern_node *node,
                                      bool negate)
{
    const struct tern_atom *atom = &node->atom;
    struct term *both[2];
    uint32_t unit, index;
    int status;

    if (unit_of(builder, atom, &unit) != 0)
        return NULL;
    status = atom->test == TERN_TEST_EXISTS
                 ? intern_neighbours(builder, &atom->operand, unit, &index)
                 : intern_atom(builder, node, unit, &index);
    if (status == 0 && atom->test != TERN_TEST_NE)
        return atom_term(builder, unit, index, negate);
    if (status == 0) {
        both[0] = atom_term(builder, unit, index, !negate);
        status = builder->status != 0 ? builder->status
                                      : intern_neighbours(builder, &atom->operand, unit, &index);
    }
    if (status == 0)
        both[1] = atom_term(builder, unit, index, negate);
    if (status == 0 && builder->status == 0)
        return join(builder, negate, both, 2);
    builder->status = status != 0 ? status : builder->status;
    return NULL;
}

static struct term *normalize_atom(struct builder *builder, const struct tern_node *node,
                                   bool negate)
{
    const struct tern_atom *atom = &node->atom;
    uint32_t unit, index, there = 0, postfix[5];
    uint32_t length = 0;
    int status;

    if (unit_of(builder, atom, &unit) != 0)
        return NULL;
    if (atom->test == TERN_TEST_EXISTS) {
        enum tern_atom_kind kind = atom->operand.table == 0   ? TERN_ATOM_THERE
                                   : atom->operand.column < 0 ? TERN_ATOM_RECORD
                                                              : TERN_ATOM_CELL;

        status = tern_atoms_there(&builder->atoms, unit, kind,
                                  kind == TERN_ATOM_CELL ? atom->operand.column : -1, &index);
    } else {
        status = intern_atom(builder, node, unit, &index);
    }
    if (status == 0 && atom->test == TERN_TEST_NE) {
        bool column = atom->operand.table != 0;

        /* a comparison with something missing is false, and so is != */
        status = tern_atoms_there(&builder->atoms, unit, column ? TERN_ATOM_CELL : TERN_ATOM_THERE,
                                  column ? atom->operand.column : -1, &there);
    }
    if (status != 0) {
        builder->status = status;
        return NULL;
    }
    if (atom->test == TERN_TEST_NE) {
        postfix[length++] = there;
        postfix[length++] = index;
        postfix[length++] = TERN_POSTFIX_NOT;
        postfix[length++] = TERN_POSTFIX_AND | 2;
    } else {
        postfix[length++] = index;
    }
    if (negate)
        postfix[length++] = TERN_POSTFIX_NOT;
    index = intern_leaf(builder, unit, postfix, length);
    return builder->status != 0 ? NULL : leaf_term(builder, index);
}

/* Negation normal form: nots move down to the atoms by De Morgan's laws; atoms are total, so the
 * complement of an atom is its negation. */
static struct term *normalize(struct builder *builder, const struct tern_node *node, bool negate)
{
    struct term **children;

    switch (node->kind) {
    case TERN_NODE_ATOM:
        return node->atom.operand.collection != 0 ? normalize_similar(builder, node, negate)
                                                  : normalize_atom(builder, node, negate);
    case TERN_NODE_NOT:
        return normalize(builder, node->children[0], !negate);
    default:
        children = take(builder, node->child_count * sizeof(struct term *));
        if (children == NULL)
            return NULL;
        for (unsigned i = 0; i < node->child_count; i++) {
            children[i] = normalize(builder, node->children[i], negate);
            if (children[i] == NULL)
                return NULL;
        }
        return join(builder, (node->kind == TERN_NODE_OR) != negate, children, node->child_count);
    }
}

/* Everything a rule names must be there: `missing: skip`. */
static bool require_operands(struct builder *builder, const struct tern_node *node,
                             struct tern_list *terms)
{
    const struct tern_operand *operand = &node->atom.operand;
    struct tern_atom there = {.operand = *operand, .test = TERN_TEST_EXISTS};
    struct term **slot;
    uint32_t unit, index;
    int status;

    if (node->kind != TERN_NODE_ATOM) {
        for (unsigned i = 0; i < node->child_count; i++)
            if (!require_operands(builder, node->children[i], terms))
                return false;
        return true;
    }
    if (unit_of(builder, &there, &unit) != 0)
        return false;
    if (operand->collection != 0)
        status =
            tern_atoms_neighbours(&builder->atoms, unit, TERN_ATOM_NEIGHBOURS, operand, &index);
    else
        status =
            tern_atoms_there(&builder->atoms, unit,
                             operand->table != 0 ? TERN_ATOM_RECORD : TERN_ATOM_THERE, -1, &index);
    slot = tern_list_push(terms, sizeof *slot);
    if (status != 0 || slot == NULL) {
        builder->status = TERN_ENOMEM;
        return false;
    }
    *slot = leaf_term(builder, intern_leaf(builder, unit, &index, 1));
    return builder->status == 0;
}

static struct term *rule_term(struct builder *builder, const struct tern_node *root)
{
    struct term *term = normalize(builder, root, false), **slot;
    struct tern_list terms = {0};

    if (term == NULL || !builder->rule->missing_skip)
        return term;
    slot = tern_list_push(&terms, sizeof *slot);
    if (slot == NULL) {
        builder->status = TERN_ENOMEM;
        return NULL;
    }
    *slot = term;
    if (require_operands(builder, root, &terms))
        term = join(builder, false, terms.data, (unsigned)terms.count);
    tern_list_free(&terms);
    return builder->status != 0 ? NULL : term;
}

/* Whether an atom of a unit with hits stands there together with its opposite. */
static bool contradicts(const struct builder *builder, const struct conjunction *item)
{
    for (uint32_t i = 0; i < item->count; i++) {
        const struct tern_leaf *leaf = leaf_at(builder, item->leaves[i]);

        for (uint32_t j = i + 1; has_hits(builder, leaf->unit) && j < item->count; j++) {
            const struct tern_leaf *other = leaf_at(builder, item->leaves[j]);

            if (other->unit != leaf->unit)
                break;
            if (other->postfix[0] == leaf->postfix[0] && other->length != leaf->length)
                return true;
        }
    }
    return false;
}

/* Both together; NULL when they contradict each other. */
static struct conjunction *merge(struct builder *builder, const struct conjunction *a,
                                 const struct conjunction *b)
{
    struct conjunction *merged =
        take(builder, sizeof *merged + (a->count + b->count) * sizeof *merged->leaves);
    uint32_t i = 0, j = 0;

    if (merged == NULL)
        return NULL;
    while (i < a->count || j < b->count) {
        uint32_t unit_a = i < a->count ? leaf_at(builder, a->leaves[i])->unit : UINT32_MAX;
        uint32_t unit_b = j < b->count ? leaf_at(builder, b->leaves[j])->unit : UINT32_MAX;
        uint32_t leaf;

        if (unit_a == unit_b && has_hits(builder, unit_a)) {
            leaf = a->leaves[i] <= b->leaves[j] ? a->leaves[i] : b->leaves[j];
            i += a->leaves[i] == leaf;
            j += b->leaves[j] == leaf;
        } else if (unit_a < unit_b) {
            leaf = a->leaves[i++];
        } else if (unit_b < unit_a) {
            leaf = b->leaves[j++];
        } else {
            uint32_t both[2] = {a->leaves[i++], b->leaves[j++]};

            leaf =
                both[0] == both[1] ? both[0] : combine_leaves(builder, both, 2, TERN_POSTFIX_AND);
        }
        merged->leaves[merged->count++] = leaf;
    }
    return builder->status != 0 || contradicts(builder, merged) ? NULL : merged;
}

static void add_distinct(struct builder *builder, struct expansion *expansion,
                         struct conjunction *item)
{
    if (item == NULL)
        return;
    for (unsigned i = 0; i < expansion->count; i++)
        if (expansion->items[i]->count == item->count &&
            memcmp(expansion->items[i]->leaves, item->leaves, item->count * sizeof *item->leaves) ==
                0)
            return;
    if (expansion->count == TERN_CONJUNCTIONS_MAX)
        builder->status = TERN_ELIMIT;
    else
        expansion->items[expansion->count++] = item;
}

static void expand(struct builder *builder, const struct term *term, struct expansion *out)
{
    out->count = 0;
    if (term->is_leaf) {
        struct conjunction *item = take(builder, sizeof *item + sizeof *item->leaves);

        if (item == NULL)
            return;
        item->count = 1;
        item->leaves[0] = term->leaf;
        add_distinct(builder, out, item);
        return;
    }
    for (unsigned i = 0; i < term->count && builder->status == 0; i++) {
        struct expansion child, before = *out;

        expand(builder, term->children[i], &child);
        if (builder->status != 0)
            return;
        if (term->is_or || i == 0) {
            for (unsigned j = 0; j < child.count; j++)
                add_distinct(builder, out, child.items[j]);
            continue;
        }
        out->count = 0;
        for (unsigned j = 0; j < before.count; j++)
            for (unsigned k = 0; k < child.count && builder->status == 0; k++)
                add_distinct(builder, out, merge(builder, before.items[j], child.items[k]));
    }
}

static void add_rule(struct builder *builder, uint32_t index, const struct tern_node *root)
{
    struct expansion expansion = {0};
    const struct term *term;

    builder->rule = &builder->config->rules[index];
    term = rule_term(builder, root);
    if (term != NULL)
        expand(builder, term, &expansion);
    for (unsigned i = 0; i < expansion.count && builder->status == 0; i++) {
        const struct conjunction *item = expansion.items[i];
        struct tern_conjunction *added;

        if (item->count > TERN_UNITS_MAX) { /* a walk counts no further */
            builder->long_conjunction = true;
            return;
        }
        added = tern_list_push(&builder->normal->conjunctions, sizeof *added);
        if (added == NULL ||
            tern_list_reserve(&builder->normal->terms, item->count, sizeof(uint32_t)) != 0) {
            builder->status = TERN_ENOMEM;
            return;
        }
        *added =
            (struct tern_conjunction){index, (uint32_t)builder->normal->terms.count, item->count};
        memcpy((uint32_t *)builder->normal->terms.data + builder->normal->terms.count, item->leaves,
               item->count * sizeof(uint32_t));
        builder->normal->terms.count += item->count;
    }
}

/* Atoms other than exists(field) first, so that the latter find a unit of their field. */
static void collect_units(struct builder *builder, const struct tern_node *node)
{
    uint32_t unit;

    if (node->kind == TERN_NODE_ATOM) {
        if (node->atom.operand.table != 0 || node->atom.operand.collection != 0 ||
            node->atom.test != TERN_TEST_EXISTS)
            unit_of(builder, &node->atom, &unit);
        return;
    }
    for (unsigned i = 0; i < node->child_count; i++)
        collect_units(builder, node->children[i]);
}

static int report_limit(struct tern_diagnostics *diagnostics, const struct tern_config_rule *rule,
                        const char *format, unsigned limit)
{
    tern_diagnostics_add(diagnostics, TERN_SEVERITY_ERROR, rule->when.place,
                         "rule '%s' needs more than %u %s", rule->id.text, limit, format);
    return TERN_EINVAL;
}

int tern_normal_new(const struct tern_program *program, struct tern_diagnostics *diagnostics,
                    struct tern_normal **normal)
{
    const struct tern_config *config = program->config;
    struct builder builder = {.config = config, .normal = calloc(1, sizeof **normal)};
    int result = 0;

    if (builder.normal == NULL)
        return TERN_ENOMEM;
    builder.atoms = (struct tern_atoms){
        .config = config, .region = &builder.normal->region, .units = &builder.normal->units};
    for (uint32_t i = 0; i < config->rule_count && builder.status == 0; i++) {
        if (config->rules[i].mode == TERN_RULE_OFF)
            continue;
        collect_units(&builder, program->rules[i]);
        if (builder.status == TERN_ELIMIT)
            result = report_limit(diagnostics, &config->rules[i],
                                  "units (different pairs of field and table) with the rules "
                                  "before it",
                                  TERN_UNITS_MAX);
    }
    for (uint32_t i = 0; i < config->rule_count && result != TERN_ENOMEM; i++) {
        if (config->rules[i].mode == TERN_RULE_OFF || builder.status == TERN_ENOMEM)
            continue;
        if (result != 0 && builder.normal->units.count == TERN_UNITS_MAX)
            break;
        builder.status = 0;
        add_rule(&builder, i, program->rules[i]);
        tern_region_reset(&builder.scratch);
        if (builder.status == TERN_ELIMIT)
            result = report_limit(diagnostics, &config->rules[i],
                                  "conjunctions once its 'or' are expanded: split it, or put its "
                                  "alternatives in a table",
                                  TERN_CONJUNCTIONS_MAX);
        else if (builder.status != 0)
            result = builder.status;
        else if (builder.long_conjunction) {
            result = report_limit(diagnostics, &config->rules[i],
                                  "comparisons that must hold together", TERN_UNITS_MAX);
            builder.long_conjunction = false;
        } else if (builder.normal->conjunctions.count > TERN_BLOCKS_MAX * TERN_BLOCK_BITS) {
            result = report_limit(diagnostics, &config->rules[i],
                                  "conjunctions with the rules before it",
                                  TERN_BLOCKS_MAX * TERN_BLOCK_BITS);
            break;
        }
    }
    if (builder.status == TERN_ENOMEM)
        result = TERN_ENOMEM;
    if (result == 0)
        result = tern_normal_compact(builder.normal);
    tern_region_free(&builder.scratch);
    tern_atoms_free(&builder.atoms);
    tern_digest_map_free(&builder.leaf_map);
    if (result != 0) {
        tern_normal_free(builder.normal);
        return result;
    }
    *normal = builder.normal;
    return 0;
}

int tern_normal_compact(struct tern_normal *normal)
{
    struct tern_leaf *leaves = normal->leaves.data;
    uint32_t *terms = normal->terms.data, kept = 0;
    uint32_t *numbers = calloc(normal->leaves.count + 1, sizeof *numbers); /* new ones */

    if (numbers == NULL)
        return TERN_ENOMEM;
    for (size_t i = 0; i < normal->terms.count; i++)
        numbers[terms[i]] = 1;
    for (size_t i = 0; i < normal->leaves.count; i++) {
        if (numbers[i] == 0)
            continue;
        leaves[kept] = leaves[i];
        numbers[i] = kept++;
    }
    normal->leaves.count = kept;
    for (size_t i = 0; i < normal->terms.count; i++)
        terms[i] = numbers[terms[i]];
    free(numbers);
    return 0;
}

void tern_normal_free(struct tern_normal *normal)
{
    if (normal == NULL)
        return;
    for (size_t i = 0; i < normal->units.count; i++) {
        tern_list_free(&((struct tern_compiled_unit *)normal->units.data)[i].atoms);
        tern_list_free(&((struct tern_compiled_unit *)normal->units.data)[i].hits);
    }
    tern_list_free(&normal->units);
    tern_list_free(&normal->leaves);
    tern_list_free(&normal->conjunctions);
    tern_list_free(&normal->terms);
    tern_region_free(&normal->region);
    free(normal);
}
