#include "controlplane/ctl/explain_text.h"

#include "controlplane/ctl/print.h"

#define INDENT 2

static bool is_scalar(const struct tern_json_value *value)
{
    return value->kind != TERN_JSON_OBJECT && value->kind != TERN_JSON_ARRAY;
}

static bool is_true(const struct tern_json_value *value)
{
    return value != NULL && value->kind == TERN_JSON_BOOL && value->boolean;
}

/* The text of a scalar, "" for anything else. */
static const char *text_of(const struct tern_json_value *value)
{
    return value != NULL && is_scalar(value) && value->kind != TERN_JSON_NULL ? value->text : "";
}

static const char *member(const struct tern_json_value *object, const char *key)
{
    return text_of(tern_json_get(object, key));
}

/* Control characters could move the cursor: what a request carried is not ours to trust. */
static void put(const char *text)
{
    for (; *text != '\0'; text++)
        putchar((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text);
}

/* --- Anything, as it is --------------------------------------------------------------------------
 */

static void print_any(const struct tern_json_value *value, unsigned depth)
{
    printf("%*s", (int)(depth * INDENT), "");
    if (value->key != NULL) {
        put(value->key);
        fputs(": ", stdout);
    }
    if (is_scalar(value))
        put(value->text);
    putchar('\n');
    for (const struct tern_json_value *child = value->child; child != NULL; child = child->next)
        print_any(child, depth + 1);
}

/* --- What we know --------------------------------------------------------------------------------
 */

static void print_verdict(const struct tern_json_value *verdict)
{
    const char *name = member(verdict, "name"), *flags = member(verdict, "flags");

    put(member(verdict, "action"));
    if (name[0] != '\0') {
        fputs(" by rule ", stdout);
        put(name);
        printf(" (%s)", member(verdict, "rule"));
    } else {
        fputs(" by ", stdout);
        put(member(verdict, "cause"));
    }
    printf(", score %s, tier %s", member(verdict, "score"), member(verdict, "tier"));
    if (flags[0] != '\0' && strcmp(flags, "0") != 0)
        printf(", flags %s", flags);
    putchar('\n');
}

static void print_terms(const struct tern_json_value *conjunction)
{
    const struct tern_json_value *terms = tern_json_get(conjunction, "terms");

    if (terms == NULL || terms->child == NULL) {
        puts("      ✓ always");
        return;
    }
    for (const struct tern_json_value *term = terms->child; term != NULL; term = term->next) {
        printf("      %s ", is_true(tern_json_get(term, "true")) ? "✓" : "✗");
        put(member(term, "text"));
        puts(is_true(tern_json_get(term, "residual")) ? " (residual)" : "");
    }
}

static void print_rule(const struct tern_json_value *rule)
{
    const struct tern_json_value *conjunctions = tern_json_get(rule, "conjunctions");
    const char *then = member(rule, "then");

    printf("  %s ", is_true(tern_json_get(rule, "matched")) ? "✓" : "✗");
    put(member(rule, "name"));
    printf(" (%s): ", member(rule, "rule"));
    put(then);
    if (strcmp(member(rule, "score"), "0") != 0)
        printf("%s%s", strcmp(then, "add") == 0 ? " " : ", score ", member(rule, "score"));
    if (strcmp(member(rule, "mode"), "shadow") == 0)
        fputs(", in shadow: counted only", stdout);
    putchar('\n');
    if (conjunctions == NULL)
        return;
    for (const struct tern_json_value *one = conjunctions->child; one != NULL; one = one->next) {
        if (one != conjunctions->child)
            puts("    or");
        print_terms(one);
    }
}

static void print_rules(const struct tern_json_value *rules)
{
    puts("\nrules");
    for (const struct tern_json_value *rule = rules->child; rule != NULL; rule = rule->next)
        print_rule(rule);
}

/* What neighbours said, a line a vote. */
static void print_votes(const struct tern_json_value *lookup)
{
    const struct tern_json_value *votes = tern_json_get(lookup, "votes");

    if (votes == NULL)
        return;
    fputs("\n  similar in ", stdout);
    put(member(lookup, "collection"));
    printf(": %s found, best %s, searched in %.3f ms\n", member(lookup, "found"),
           member(lookup, "score")[0] != '\0' ? member(lookup, "score") : "none",
           strtod(member(lookup, "search_ns"), NULL) / 1e6);
    for (const struct tern_json_value *vote = votes->child; vote != NULL; vote = vote->next) {
        printf("    k %s", member(vote, "k"));
        if (member(vote, "min")[0] != '\0')
            printf(", min %s", member(vote, "min"));
        printf(": %s found", member(vote, "found"));
        if (tern_json_get(vote, "share") != NULL) {
            printf(", %s ", member(vote, "column"));
            put(member(vote, "value"));
            printf(" by %.0f %%", 100 * strtod(member(vote, "share"), NULL));
        } else if (member(vote, "column")[0] != '\0') {
            printf(", no %s", member(vote, "column"));
        }
        putchar('\n');
    }
}

static void print_lookups(const struct tern_json_value *lookups)
{
    static const char *const headings[] = {"  look-up", ">unit",   "field", "table",
                                           "outcome",   ">record", ">class"};
    struct tern_print_table table;

    putchar('\n');
    tern_print_table_begin(&table, TERN_COUNT(headings), headings);
    for (const struct tern_json_value *one = lookups->child; one != NULL; one = one->next) {
        const struct tern_json_value *needed = tern_json_get(one, "needed");
        char kind[TERN_PRINT_TEXT], outcome[TERN_PRINT_TEXT];

        snprintf(kind, sizeof kind, "  %s", member(one, "kind"));
        /* scanned for this explanation only: the decision did without */
        snprintf(outcome, sizeof outcome, "%s%s", member(one, "outcome"),
                 needed != NULL && !is_true(needed) &&
                         strcmp(member(one, "outcome"), "missing") != 0
                     ? ", not needed"
                     : "");
        tern_print_table_row(
            &table, (const char *const[]){
                        kind, member(one, "unit"), member(one, "field"),
                        member(one, member(one, "table")[0] != '\0' ? "table" : "collection"),
                        outcome, member(one, "record"), member(one, "class")});
    }
    tern_print_table_end(&table);
    for (const struct tern_json_value *one = lookups->child; one != NULL; one = one->next)
        print_votes(one);
}

static void print_stages(const struct tern_json_value *stages)
{
    fputs("\nstages ", stdout);
    for (const struct tern_json_value *stage = stages->child; stage != NULL; stage = stage->next) {
        size_t length = strlen(stage->key);
        char time[TERN_PRINT_TEXT];

        if (stage != stages->child)
            fputs(", ", stdout);
        if (length > 3 && strcmp(stage->key + length - 3, "_ns") == 0 &&
            stage->kind == TERN_JSON_NUMBER && stage->number >= 0 && stage->number < 1e18)
            printf("%.*s %s", (int)length - 3, stage->key,
                   tern_print_ns(time, (uint64_t)stage->number));
        else
            printf("%s %s", stage->key, text_of(stage));
    }
    putchar('\n');
}

void tern_explain_print(const struct tern_json_value *explanation)
{
    static const struct {
        const char *key;
        enum tern_json_kind kind;
        void (*print)(const struct tern_json_value *value);
    } known[] = {
        {"verdict", TERN_JSON_OBJECT, print_verdict},
        {"lookups", TERN_JSON_ARRAY, print_lookups},
        {"rules", TERN_JSON_ARRAY, print_rules},
        {"stages", TERN_JSON_OBJECT, print_stages},
    };

    for (const struct tern_json_value *child = explanation->child; child != NULL;
         child = child->next) {
        unsigned i = 0;

        while (i < TERN_COUNT(known) && (child->key == NULL || child->kind != known[i].kind ||
                                         strcmp(child->key, known[i].key) != 0))
            i++;
        if (i < TERN_COUNT(known))
            known[i].print(child);
        else if (child->key != NULL && strcmp(child->key, "not_shown") == 0)
            printf("  (%s more did not match)\n", text_of(child));
        else
            print_any(child, 0);
    }
}
