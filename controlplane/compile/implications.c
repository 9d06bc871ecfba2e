#include "controlplane/compile/implications.h"

/* Bounds of the work on one rule set, in steps of a few nanoseconds: about a second in all. */
#define EVALUATION_STEPS_MAX (100u << 20)
#define PAIRS_MAX            (4u << 20)
#define ATOMS_MAX            8u  /* of two leaves over a map together: 256 cases */
#define LENGTH_MAX           64u /* of a leaf over a map */

/* The classes in which a leaf holds, as runs of consecutive ones. */
struct run {
    uint32_t leaf, first, last;
};

struct pair {
    uint32_t leaf, implied;
};

struct finder {
    const struct tern_analysis *analysis;
    const struct tern_leaf *leaves;
    const uint8_t *wanted;
    uint32_t *class_counts;
    uint64_t steps;
    struct tern_list pairs; /* struct pair: found */
    /* of the unit at hand */
    const struct tern_compiled_unit *unit;
    const uint32_t *members; /* its leaves */
    uint32_t member_count;
    uint32_t *atom_starts, *atom_members; /* which members name each atom */
    uint8_t *truth;                       /* per atom */
    uint8_t *stack;
};

/* ---- which members name an atom ---- */

static int index_atoms(struct finder *finder)
{
    size_t atom_count = finder->unit->atoms.count, named = 0, longest = 1;
    uint32_t *fill;

    finder->atom_starts = calloc(atom_count + 2, sizeof *finder->atom_starts);
    for (uint32_t i = 0; finder->atom_starts != NULL && i < finder->member_count; i++) {
        const struct tern_leaf *leaf = &finder->leaves[finder->members[i]];

        longest = tern_max_u64(longest, leaf->length);
        for (uint32_t j = 0; j < leaf->length; j++)
            if ((leaf->postfix[j] & TERN_POSTFIX_OP) == 0) {
                finder->atom_starts[leaf->postfix[j] + 1]++;
                named++;
            }
    }
    finder->atom_members = calloc(named + 1, sizeof *finder->atom_members);
    finder->truth = calloc(atom_count + 1, 1);
    finder->stack = malloc(longest);
    fill = calloc(atom_count + 1, sizeof *fill);
    if (finder->atom_starts == NULL || finder->atom_members == NULL || finder->truth == NULL ||
        finder->stack == NULL || fill == NULL) {
        free(fill);
        return TERN_ENOMEM;
    }
    for (size_t i = 0; i < atom_count; i++) {
        finder->atom_starts[i + 1] += finder->atom_starts[i];
        fill[i] = finder->atom_starts[i];
    }
    for (uint32_t i = 0; i < finder->member_count; i++) {
        const struct tern_leaf *leaf = &finder->leaves[finder->members[i]];

        for (uint32_t j = 0; j < leaf->length; j++)
            if ((leaf->postfix[j] & TERN_POSTFIX_OP) == 0)
                finder->atom_members[fill[leaf->postfix[j]]++] = i;
    }
    free(fill);
    return 0;
}

static bool add_pair(struct finder *finder, uint32_t leaf, uint32_t implied)
{
    struct pair *pair = tern_list_push(&finder->pairs, sizeof *pair);

    if (pair != NULL)
        *pair = (struct pair){leaf, implied};
    return pair != NULL;
}

/* ---- units with classes ---- */

/* The walk over the classes of one unit: `holds` is what holds now. */
struct walk {
    uint8_t *holds;   /* per member */
    uint32_t *since;  /* per member: the class from which on it has held */
    uint32_t *active; /* members that hold and are wanted, in no order */
    uint32_t *place;  /* per member: where it stands in `active` */
    uint32_t active_count;
    struct tern_list changed;    /* u32 members */
    uint8_t *is_changed;         /* per member */
    struct tern_list runs;       /* struct run, with members as leaves */
    struct tern_list candidates; /* struct pair, of members */
};

static int note_changes(struct finder *finder, struct walk *walk, uint32_t atom)
{
    finder->truth[atom] ^= 1;
    for (uint32_t i = finder->atom_starts[atom]; i < finder->atom_starts[atom + 1]; i++) {
        uint32_t member = finder->atom_members[i], *slot;

        if (walk->is_changed[member])
            continue;
        slot = tern_list_push(&walk->changed, sizeof *slot);
        if (slot == NULL)
            return TERN_ENOMEM;
        *slot = member;
        walk->is_changed[member] = 1;
    }
    return 0;
}

static int end_run(struct walk *walk, uint32_t member, uint32_t last)
{
    struct run *run = tern_list_push(&walk->runs, sizeof *run);

    if (run == NULL)
        return TERN_ENOMEM;
    *run = (struct run){member, walk->since[member], last};
    return 0;
}

static void set_active(struct walk *walk, uint32_t member, bool active)
{
    uint32_t last;

    if (active) {
        walk->place[member] = walk->active_count;
        walk->active[walk->active_count++] = member;
        return;
    }
    last = walk->active[--walk->active_count];
    walk->active[walk->place[member]] = last;
    walk->place[last] = walk->place[member];
}

/* Brings the members up to date with class `class`. Those that hold for the first time can imply
 * only what holds now as well. */
static int enter_class(struct finder *finder, struct walk *walk, uint32_t class)
{
    const uint32_t *changed = walk->changed.data;
    size_t kept = 0;

    for (size_t i = 0; i < walk->changed.count; i++) {
        uint32_t member = changed[i];
        const struct tern_leaf *leaf = &finder->leaves[finder->members[member]];
        bool holds = tern_leaf_truth(leaf, finder->truth, finder->stack);

        finder->steps += leaf->length;
        walk->is_changed[member] = 0;
        if (holds == (bool)walk->holds[member])
            continue;
        walk->holds[member] = holds;
        if (finder->wanted[finder->members[member]])
            set_active(walk, member, holds);
        if (!holds) {
            if (end_run(walk, member, class - 1) != 0)
                return TERN_ENOMEM;
            continue;
        }
        walk->since[member] = class;
        if (finder->class_counts[finder->members[member]] == UINT32_MAX) {
            finder->class_counts[finder->members[member]] = 0;
            ((uint32_t *)walk->changed.data)[kept++] = member; /* begins here */
        }
    }
    for (size_t i = 0; i < kept; i++)
        for (uint32_t j = 0; j < walk->active_count; j++) {
            struct pair *pair;

            if (walk->active[j] == changed[i])
                continue;
            if (walk->candidates.count >= PAIRS_MAX)
                break;
            pair = tern_list_push(&walk->candidates, sizeof *pair);
            if (pair == NULL)
                return TERN_ENOMEM;
            *pair = (struct pair){changed[i], walk->active[j]};
            finder->steps++;
        }
    walk->changed.count = 0;
    return 0;
}

static int walk_classes(struct finder *finder, struct walk *walk,
                        const struct tern_signatures *signatures)
{
    uint32_t class_count = tern_signatures_count(signatures);
    int status = 0;

    for (uint32_t i = 0; i < finder->member_count; i++) { /* what no atom changes: `not x` */
        uint32_t *slot = tern_list_push(&walk->changed, sizeof *slot);

        if (slot == NULL)
            return TERN_ENOMEM;
        *slot = i;
        walk->is_changed[i] = 1;
    }
    for (uint32_t class = 0; class < class_count && status == 0; class ++) {
        size_t count;
        const uint32_t *toggles = tern_signatures_toggles(signatures, class, &count);

        for (size_t i = 0; i < count && status == 0; i++)
            status = note_changes(finder, walk, toggles[i]);
        if (status == 0)
            status = enter_class(finder, walk, class);
        if (finder->steps > EVALUATION_STEPS_MAX)
            return TERN_ELIMIT;
    }
    for (uint32_t i = 0; i < finder->member_count && status == 0; i++)
        if (walk->holds[i])
            status = end_run(walk, i, class_count - 1);
    return status;
}

/* Every run of `inner` lies within one of `outer`. */
static bool runs_within(const struct run *inner, uint32_t inner_count, const struct run *outer,
                        uint32_t outer_count, uint64_t *steps)
{
    uint32_t at = 0;

    for (uint32_t i = 0; i < inner_count; i++) {
        while (at < outer_count && outer[at].last < inner[i].first) {
            at++;
            ++*steps;
        }
        ++*steps;
        if (at == outer_count || outer[at].first > inner[i].first || outer[at].last < inner[i].last)
            return false;
    }
    return true;
}

/* Sorts the runs by member (they come in the order in which they end), then asks each candidate. */
static int check_candidates(struct finder *finder, struct walk *walk)
{
    const struct run *runs = walk->runs.data;
    const struct pair *candidates = walk->candidates.data;
    uint32_t *starts = calloc((size_t)finder->member_count + 2, sizeof *starts);
    struct run *sorted = malloc((walk->runs.count + 1) * sizeof *sorted);
    int status = starts == NULL || sorted == NULL ? TERN_ENOMEM : 0;

    for (size_t i = 0; status == 0 && i < walk->runs.count; i++) {
        starts[runs[i].leaf + 2]++;
        finder->class_counts[finder->members[runs[i].leaf]] += runs[i].last - runs[i].first + 1;
    }
    for (uint32_t i = 0; status == 0 && i < finder->member_count; i++)
        starts[i + 2] += starts[i + 1];
    for (size_t i = 0; status == 0 && i < walk->runs.count; i++)
        sorted[starts[runs[i].leaf + 1]++] = runs[i]; /* now starts[m] is where m begins */
    for (size_t i = 0; status == 0 && i < walk->candidates.count; i++) {
        uint32_t inner = candidates[i].leaf, outer = candidates[i].implied;

        if (finder->steps > EVALUATION_STEPS_MAX)
            break;
        if (runs_within(sorted + starts[inner], starts[inner + 1] - starts[inner],
                        sorted + starts[outer], starts[outer + 1] - starts[outer],
                        &finder->steps) &&
            !add_pair(finder, finder->members[inner], finder->members[outer]))
            status = TERN_ENOMEM;
    }
    free(starts);
    free(sorted);
    return status;
}

static int find_by_classes(struct finder *finder, const struct tern_signatures *signatures)
{
    size_t count = (size_t)finder->member_count + 1;
    struct walk walk = {.holds = calloc(count, 1),
                        .since = calloc(count, sizeof(uint32_t)),
                        .active = calloc(count, sizeof(uint32_t)),
                        .place = calloc(count, sizeof(uint32_t)),
                        .is_changed = calloc(count, 1)};
    int status = TERN_ENOMEM;

    if (walk.holds != NULL && walk.since != NULL && walk.active != NULL && walk.place != NULL &&
        walk.is_changed != NULL)
        status = walk_classes(finder, &walk, signatures);
    if (status == 0)
        status = check_candidates(finder, &walk);
    free(walk.holds);
    free(walk.since);
    free(walk.active);
    free(walk.place);
    free(walk.is_changed);
    tern_list_free(&walk.changed);
    tern_list_free(&walk.runs);
    tern_list_free(&walk.candidates);
    return status == TERN_ELIMIT ? 0 : status;
}

/* ---- units without classes: what the atoms alone say ---- */

/* The atoms of two leaves; 0 when they are too many. */
static unsigned atoms_of(const struct tern_leaf *a, const struct tern_leaf *b,
                         uint32_t atoms[ATOMS_MAX])
{
    const struct tern_leaf *both[2] = {a, b};
    unsigned count = 0;

    for (unsigned i = 0; i < 2; i++)
        for (uint32_t j = 0; j < both[i]->length; j++) {
            uint32_t code = both[i]->postfix[j];
            unsigned known = 0;

            if ((code & TERN_POSTFIX_OP) != 0)
                continue;
            while (known < count && atoms[known] != code)
                known++;
            if (known < count)
                continue;
            if (count == ATOMS_MAX)
                return 0;
            atoms[count++] = code;
        }
    return count;
}

static bool implies_by_atoms(struct finder *finder, const struct tern_leaf *leaf,
                             const struct tern_leaf *other)
{
    uint32_t atoms[ATOMS_MAX];
    unsigned count;
    bool implies = true;

    if (leaf->length > LENGTH_MAX || other->length > LENGTH_MAX)
        return false;
    count = atoms_of(leaf, other, atoms);
    if (count == 0)
        return false;
    for (unsigned truths = 0; truths < 1u << count && implies; truths++) {
        for (unsigned i = 0; i < count; i++)
            finder->truth[atoms[i]] = truths >> i & 1;
        finder->steps += leaf->length + other->length;
        implies = !tern_leaf_truth(leaf, finder->truth, finder->stack) ||
                  tern_leaf_truth(other, finder->truth, finder->stack);
    }
    return implies;
}

/* Two leaves without an atom in common say nothing about each other. */
static int find_by_atoms(struct finder *finder)
{
    for (uint32_t member = 0; member < finder->member_count; member++) {
        uint32_t index = finder->members[member];
        const struct tern_leaf *leaf = &finder->leaves[index];

        for (uint32_t j = 0; j < leaf->length; j++) {
            uint32_t atom = leaf->postfix[j];

            if ((atom & TERN_POSTFIX_OP) != 0)
                continue;
            for (uint32_t i = finder->atom_starts[atom]; i < finder->atom_starts[atom + 1]; i++) {
                uint32_t other = finder->members[finder->atom_members[i]];

                if (finder->steps++ > EVALUATION_STEPS_MAX)
                    return 0;
                if (other != index && finder->wanted[other] &&
                    implies_by_atoms(finder, leaf, &finder->leaves[other]) &&
                    !add_pair(finder, index, other))
                    return TERN_ENOMEM;
            }
        }
    }
    return 0;
}

/* ---- all units ---- */

/* Whether a value of the unit has exactly one class, which is known without tables. */
static bool has_classes(const struct tern_compiled_unit *unit)
{
    switch ((enum tern_unit_kind)unit->kind) {
    case TERN_UNIT_PRESENCE:
    case TERN_UNIT_NUMBER:
    case TERN_UNIT_ADDRESS:
    case TERN_UNIT_STRING:
    case TERN_UNIT_SUFFIX:
    case TERN_UNIT_SET:
        return true;
    default:
        return false;
    }
}

static int find_in_unit(struct finder *finder, uint32_t unit)
{
    const struct tern_signatures *signatures = &finder->analysis->classifiers[unit].signatures;
    int status = index_atoms(finder);

    if (status == 0)
        status =
            has_classes(finder->unit) ? find_by_classes(finder, signatures) : find_by_atoms(finder);
    free(finder->atom_starts);
    free(finder->atom_members);
    free(finder->truth);
    free(finder->stack);
    finder->atom_starts = finder->atom_members = NULL;
    finder->truth = finder->stack = NULL;
    return status;
}

static int by_leaf(const void *a, const void *b)
{
    const struct pair *left = a, *right = b;

    if (left->leaf != right->leaf)
        return left->leaf < right->leaf ? -1 : 1;
    return left->implied < right->implied ? -1 : left->implied > right->implied;
}

/* The pairs by leaf; each once (two leaves may share several atoms). */
static int order_pairs(struct finder *finder, struct tern_implications *found, size_t leaf_count)
{
    struct pair *pairs = finder->pairs.data;
    size_t kept = 0;

    found->starts = calloc(leaf_count + 2, sizeof *found->starts);
    found->implied = malloc((finder->pairs.count + 1) * sizeof *found->implied);
    if (found->starts == NULL || found->implied == NULL)
        return TERN_ENOMEM;
    if (finder->pairs.count > 0)
        qsort(pairs, finder->pairs.count, sizeof *pairs, by_leaf);
    for (size_t i = 0; i < finder->pairs.count; i++) {
        if (i > 0 && by_leaf(&pairs[i - 1], &pairs[i]) == 0)
            continue;
        found->starts[pairs[i].leaf + 1]++;
        found->implied[kept++] = pairs[i].implied;
    }
    for (size_t i = 0; i < leaf_count; i++)
        found->starts[i + 1] += found->starts[i];
    return 0;
}

int tern_implications_find(struct tern_implications *implications,
                           const struct tern_analysis *analysis, const uint8_t *wanted)
{
    const struct tern_normal *normal = analysis->normal;
    size_t leaf_count = normal->leaves.count, unit_count = normal->units.count;
    struct tern_implications found = {.class_counts =
                                          malloc((leaf_count + 1) * sizeof *found.class_counts)};
    struct finder finder = {.analysis = analysis,
                            .leaves = normal->leaves.data,
                            .wanted = wanted,
                            .class_counts = found.class_counts};
    uint32_t *starts = calloc(unit_count + 2, sizeof *starts);
    uint32_t *members = malloc((leaf_count + 1) * sizeof *members);
    int status = found.class_counts == NULL || starts == NULL || members == NULL ? TERN_ENOMEM : 0;

    if (status == 0) {
        memset(found.class_counts, 0xff, (leaf_count + 1) * sizeof *found.class_counts);
        for (uint32_t i = 0; i < leaf_count; i++)
            starts[finder.leaves[i].unit + 2]++;
        for (uint32_t i = 0; i < unit_count; i++)
            starts[i + 2] += starts[i + 1];
        for (uint32_t i = 0; i < leaf_count; i++)
            members[starts[finder.leaves[i].unit + 1]++] = i;
    }
    for (uint32_t unit = 0; unit < unit_count && status == 0; unit++) {
        finder.unit = (const struct tern_compiled_unit *)normal->units.data + unit;
        finder.members = members + starts[unit];
        finder.member_count = starts[unit + 1] - starts[unit];
        if (finder.member_count > 1)
            status = find_in_unit(&finder, unit);
    }
    if (status == 0)
        status = order_pairs(&finder, &found, leaf_count);
    tern_list_free(&finder.pairs);
    free(starts);
    free(members);
    if (status != 0) {
        tern_implications_free(&found);
        return status;
    }
    *implications = found;
    return 0;
}

void tern_implications_free(struct tern_implications *implications)
{
    free(implications->starts);
    free(implications->implied);
    free(implications->class_counts);
    *implications = (struct tern_implications){0};
}

static int by_number(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

    return left < right ? -1 : left > right;
}

bool tern_implications_hold(const struct tern_implications *implications, uint32_t leaf,
                            uint32_t other)
{
    uint32_t first = implications->starts[leaf];

    return leaf == other ||
           bsearch(&other, implications->implied + first, implications->starts[leaf + 1] - first,
                   sizeof other, by_number) != NULL;
}
