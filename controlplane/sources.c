#include "controlplane/sources.h"

#include "shared/clock.h"

#include <pthread.h>

struct tern_sources {
    pthread_mutex_t mutex; /* guards everything but `config`, which the builder's thread owns */
    struct tern_config *config;
    struct tern_source_state *items;
    unsigned count;
    struct tern_sources_hold hold;
    uint64_t random;
};

int tern_sources_new(uint64_t seed, struct tern_sources **out)
{
    struct tern_sources *sources = calloc(1, sizeof *sources);

    if (sources == NULL)
        return TERN_ENOMEM;
    pthread_mutex_init(&sources->mutex, NULL);
    sources->random = seed | 1;
    *out = sources;
    return 0;
}

static void free_items(struct tern_source_state *items, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        free(items[i].path);
    free(items);
}

void tern_sources_free(struct tern_sources *sources)
{
    if (sources == NULL)
        return;
    free_items(sources->items, sources->count);
    tern_config_free(sources->config);
    pthread_mutex_destroy(&sources->mutex);
    free(sources);
}

/* xorshift64: enough to keep timers apart. Uniform in [0, below]. */
static uint64_t draw(struct tern_sources *sources, uint64_t below)
{
    sources->random ^= sources->random << 13;
    sources->random ^= sources->random >> 7;
    sources->random ^= sources->random << 17;
    return sources->random % (below + 1);
}

/* The next look, up to a tenth early: instances that were started together drift apart, and none is
 * ever later than `refresh` says. Counted from the end of the last look: they cannot pile up. */
static uint64_t next_look(struct tern_sources *sources, uint64_t refresh_us, uint64_t now_us)
{
    if (refresh_us == 0)
        return UINT64_MAX;
    return now_us + refresh_us - draw(sources, refresh_us / 10);
}

/* When rows of that age, by a wall clock that may have jumped meanwhile, were right on the
 * monotonic clock. */
static uint64_t confirmed_then(uint64_t loaded_at_us, uint64_t now_us)
{
    uint64_t wall_us = tern_clock_wall_us();
    uint64_t age_us = loaded_at_us != 0 && wall_us > loaded_at_us ? wall_us - loaded_at_us : 0;

    return age_us < now_us ? now_us - age_us : 0;
}

static void succeed(struct tern_source_state *state, uint64_t now_us)
{
    state->confirmed_us = now_us;
    state->failures = 0;
    state->failed_at_us = 0;
    state->error[0] = '\0';
}

/* True when it is news. */
static bool fail(struct tern_source_state *state, const char *reason)
{
    bool news = state->failures == 0 || strcmp(state->error, reason) != 0;

    if (state->failures++ == 0)
        state->failed_at_us = tern_clock_wall_us();
    snprintf(state->error, sizeof state->error, "%s", reason);
    return news;
}

/* True for a failure that is news. */
static bool note_look(struct tern_sources *sources, struct tern_source_state *state,
                      const struct tern_apply_table *table, uint64_t now_us)
{
    bool news = false;

    if (table->error[0] != '\0')
        news = fail(state, table->error);
    else
        succeed(state, now_us);
    state->due_us = next_look(sources, state->refresh_us, now_us);
    return news;
}

static const struct tern_source_state *find(const struct tern_sources *sources, const char *table)
{
    for (unsigned i = 0; i < sources->count; i++)
        if (strcmp(sources->items[i].table, table) == 0)
            return &sources->items[i];
    return NULL;
}

static int describe(struct tern_sources *sources, const struct tern_config *config, unsigned index,
                    const struct tern_apply_table *table, uint64_t now_us,
                    struct tern_source_state *state)
{
    const struct tern_source_state *before = find(sources, table->name);
    const struct tern_config_table *defined =
        config != NULL && index < config->table_count ? &config->tables[index] : NULL;

    *state = (struct tern_source_state){
        .rows = table->rows,
        .keys = table->keys,
        .bytes = table->bytes,
        .source_bytes = table->source_bytes,
        .loaded_at_us = table->loaded_at_us,
        .refresh_us = defined != NULL ? defined->refresh_us : 0,
    };
    snprintf(state->table, sizeof state->table, "%s", table->name);
    if (defined != NULL && (state->path = strdup(defined->source_path)) == NULL)
        return TERN_ENOMEM;
    if (before != NULL && before->loaded_at_us == state->loaded_at_us) {
        state->confirmed_us = before->confirmed_us;
        state->failures = before->failures;
        state->failed_at_us = before->failed_at_us;
        memcpy(state->error, before->error, sizeof state->error);
    } else {
        state->confirmed_us = confirmed_then(state->loaded_at_us, now_us);
    }
    if (table->looked_at)
        (void)note_look(sources, state, table, now_us);
    else if (state->refresh_us == 0)
        state->due_us = UINT64_MAX;
    else if (before != NULL && before->refresh_us == state->refresh_us)
        state->due_us = before->due_us;
    else /* found as it is, at a start: not all at once */
        state->due_us = now_us + draw(sources, state->refresh_us);
    return 0;
}

int tern_sources_serve(struct tern_sources *sources, struct tern_config *config,
                       const struct tern_apply_table *tables, unsigned count, uint64_t now_us)
{
    struct tern_source_state *items = calloc(count + 1u, sizeof *items);
    int result = items != NULL ? 0 : TERN_ENOMEM;

    pthread_mutex_lock(&sources->mutex);
    for (unsigned i = 0; result == 0 && i < count; i++)
        result = describe(sources, config, i, &tables[i], now_us, &items[i]);
    if (result == 0) {
        free_items(sources->items, sources->count);
        sources->items = items;
        sources->count = count;
    }
    pthread_mutex_unlock(&sources->mutex);
    if (result != 0) {
        if (items != NULL)
            free_items(items, count);
        if (config != sources->config)
            tern_config_free(config);
        return result;
    }
    if (config != sources->config)
        tern_config_free(sources->config);
    sources->config = config;
    return 0;
}

const struct tern_config *tern_sources_config(const struct tern_sources *sources)
{
    return sources->config;
}

bool tern_sources_note(struct tern_sources *sources, const struct tern_apply_table *tables,
                       unsigned count, uint64_t now_us)
{
    bool news = false;

    pthread_mutex_lock(&sources->mutex);
    for (unsigned i = 0; i < count && i < sources->count; i++)
        if (tables[i].looked_at)
            news |= note_look(sources, &sources->items[i], &tables[i], now_us);
    pthread_mutex_unlock(&sources->mutex);
    return news;
}

bool tern_sources_fail(struct tern_sources *sources, const bool *due, const char *reason,
                       uint64_t now_us)
{
    bool news = false;

    pthread_mutex_lock(&sources->mutex);
    for (unsigned i = 0; i < sources->count; i++) {
        struct tern_source_state *state = &sources->items[i];

        if (!due[i])
            continue;
        news |= fail(state, reason);
        state->due_us = next_look(sources, state->refresh_us, now_us);
    }
    pthread_mutex_unlock(&sources->mutex);
    return news;
}

uint64_t tern_sources_next(struct tern_sources *sources)
{
    uint64_t next_us = UINT64_MAX;

    pthread_mutex_lock(&sources->mutex);
    if (sources->hold.since_us == 0)
        for (unsigned i = 0; i < sources->count; i++)
            next_us = tern_min_u64(next_us, sources->items[i].due_us);
    pthread_mutex_unlock(&sources->mutex);
    return next_us;
}

unsigned tern_sources_due(struct tern_sources *sources, uint64_t now_us, bool *due, unsigned count)
{
    unsigned found = 0;

    pthread_mutex_lock(&sources->mutex);
    for (unsigned i = 0; i < count; i++) {
        due[i] =
            i < sources->count && sources->hold.since_us == 0 && sources->items[i].due_us <= now_us;
        found += due[i];
    }
    pthread_mutex_unlock(&sources->mutex);
    return found;
}

void tern_sources_set_hold(struct tern_sources *sources, const struct tern_sources_hold *hold,
                           uint64_t now_us)
{
    pthread_mutex_lock(&sources->mutex);
    if (sources->hold.since_us != 0 && hold->since_us == 0)
        for (unsigned i = 0; i < sources->count; i++)
            if (sources->items[i].refresh_us != 0)
                sources->items[i].due_us = now_us;
    sources->hold = *hold;
    pthread_mutex_unlock(&sources->mutex);
}

int tern_sources_copy(struct tern_sources *sources, struct tern_sources_copy *out)
{
    struct tern_sources_copy copy = {0};

    pthread_mutex_lock(&sources->mutex);
    copy.items = calloc(sources->count + 1u, sizeof *copy.items);
    for (unsigned i = 0; copy.items != NULL && i < sources->count; i++) {
        copy.items[i] = sources->items[i];
        if (sources->items[i].path == NULL)
            continue;
        copy.items[i].path = strdup(sources->items[i].path);
        if (copy.items[i].path == NULL) {
            free_items(copy.items, i);
            copy.items = NULL;
        }
    }
    copy.count = sources->count;
    copy.hold = sources->hold;
    pthread_mutex_unlock(&sources->mutex);
    if (copy.items == NULL)
        return TERN_ENOMEM;
    *out = copy;
    return 0;
}

void tern_sources_copy_free(struct tern_sources_copy *copy)
{
    if (copy->items != NULL)
        free_items(copy->items, copy->count);
    *copy = (struct tern_sources_copy){0};
}
