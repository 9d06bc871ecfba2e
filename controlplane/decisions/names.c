#include "controlplane/decisions/names.h"

#include <pthread.h>

/* Ids one behind the other; rule i (from 0) has the bytes from starts[i] to starts[i + 1]. */
struct list {
    unsigned users; /* generations that share it: most publishes leave the rules as they are */
    uint32_t count;
    uint32_t *starts;
    char *text;
};

struct kept {
    uint64_t generation; /* 0: none */
    struct list *list;
};

struct tern_names {
    pthread_mutex_t lock;
    struct kept kept[TERN_NAMES_GENERATIONS];
    unsigned next; /* the oldest */
};

static void drop(struct list *list)
{
    if (list == NULL || --list->users > 0)
        return;
    free(list->starts);
    free(list->text);
    free(list);
}

static struct list *copy(const struct tern_rules *rules)
{
    struct list *list = calloc(1, sizeof *list);
    uint32_t count = tern_rules_count(rules);
    size_t total = 0, length;

    if (list == NULL)
        return NULL;
    for (uint32_t i = 1; i <= count; i++) {
        tern_rules_name(rules, i, &length);
        total += length;
    }
    list->users = 1;
    list->count = count;
    list->starts = malloc((count + 1) * sizeof *list->starts);
    list->text = malloc(total + 1);
    if (list->starts == NULL || list->text == NULL) {
        drop(list);
        return NULL;
    }
    total = 0;
    for (uint32_t i = 1; i <= count; i++) {
        const char *name = tern_rules_name(rules, i, &length);

        list->starts[i - 1] = (uint32_t)total;
        memcpy(list->text + total, name, length);
        total += length;
    }
    list->starts[count] = (uint32_t)total;
    return list;
}

static bool same(const struct list *a, const struct list *b)
{
    return a->count == b->count &&
           memcmp(a->starts, b->starts, (a->count + 1) * sizeof *a->starts) == 0 &&
           memcmp(a->text, b->text, a->starts[a->count]) == 0;
}

int tern_names_new(struct tern_names **names)
{
    struct tern_names *made = calloc(1, sizeof *made);

    if (made == NULL)
        return TERN_ENOMEM;
    pthread_mutex_init(&made->lock, NULL);
    *names = made;
    return 0;
}

void tern_names_free(struct tern_names *names)
{
    if (names == NULL)
        return;
    for (unsigned i = 0; i < TERN_NAMES_GENERATIONS; i++)
        drop(names->kept[i].list);
    pthread_mutex_destroy(&names->lock);
    free(names);
}

int tern_names_add(struct tern_names *names, uint64_t generation, const struct tern_rules *rules)
{
    struct list *list = copy(rules);
    unsigned at, newest;

    if (list == NULL)
        return TERN_ENOMEM;
    pthread_mutex_lock(&names->lock);
    at = names->next;
    newest = (at + TERN_NAMES_GENERATIONS - 1) % TERN_NAMES_GENERATIONS;
    if (names->kept[newest].list != NULL && same(list, names->kept[newest].list)) {
        drop(list);
        list = names->kept[newest].list;
        list->users++;
    }
    drop(names->kept[at].list);
    names->kept[at] = (struct kept){generation, list};
    names->next = (at + 1) % TERN_NAMES_GENERATIONS;
    pthread_mutex_unlock(&names->lock);
    return 0;
}

void tern_names_lock(struct tern_names *names)
{
    pthread_mutex_lock(&names->lock);
}

void tern_names_unlock(struct tern_names *names)
{
    pthread_mutex_unlock(&names->lock);
}

const char *tern_names_find(const struct tern_names *names, uint64_t generation, uint32_t rule,
                            size_t *length)
{
    for (unsigned i = 0; i < TERN_NAMES_GENERATIONS; i++) {
        const struct list *list = names->kept[i].list;

        if (list == NULL || names->kept[i].generation != generation)
            continue;
        if (rule == 0 || rule > list->count)
            return NULL;
        *length = list->starts[rule] - list->starts[rule - 1];
        return list->text + list->starts[rule - 1];
    }
    return NULL;
}
