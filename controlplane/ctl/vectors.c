#include "controlplane/ctl/vectors.h"

#include "controlplane/ctl/print.h"

void tern_vectors_outcome_json(struct tern_json *json, const Tern__Control__Published *result)
{
    tern_json_array(json, "collections");
    for (size_t i = 0; i < result->n_collections; i++) {
        const Tern__Control__CollectionResult *item = result->collections[i];

        tern_json_object(json, NULL);
        tern_json_string(json, "name", item->name);
        tern_json_string(json, "change", item->change);
        tern_json_u64(json, "capacity", item->capacity);
        tern_json_u64(json, "reserved_bytes", item->reserved_bytes);
        tern_json_u64(json, "vectors", item->vectors);
        tern_json_double(json, "build_ms", item->build_ms);
        tern_json_string(json, "error", item->error[0] != '\0' ? item->error : NULL);
        tern_json_object_end(json);
    }
    tern_json_array_end(json);
}

void tern_vectors_outcome_print(const Tern__Control__Published *result)
{
    static const char *const headings[] = {"collection", ">capacity", ">reserves", ">built from",
                                           ""};
    struct tern_print_table table;

    tern_print_table_begin(&table, TERN_COUNT(headings), headings);
    for (size_t i = 0; i < result->n_collections; i++) {
        const Tern__Control__CollectionResult *item = result->collections[i];
        char capacity[TERN_PRINT_TEXT], reserves[TERN_PRINT_TEXT], vectors[TERN_PRINT_TEXT];

        tern_print_table_row(
            &table, (const char *const[]){item->name, tern_print_count(capacity, item->capacity),
                                          tern_print_bytes(reserves, item->reserved_bytes),
                                          tern_print_count(vectors, item->vectors), item->change});
    }
    tern_print_table_end(&table);
    for (size_t i = 0; i < result->n_collections; i++)
        if (result->collections[i]->error[0] != '\0')
            printf("collection %s: %s\n", result->collections[i]->name,
                   result->collections[i]->error);
}

/* "STUCK" in capitals as elsewhere in `status`: what somebody has to look at. */
static const char *state_of(const Tern__Control__CollectionStatus *item)
{
    if (!item->served)
        return "building";
    return !item->filling ? "ready" : item->error[0] != '\0' ? "STUCK" : "filling";
}

static double share_of(const Tern__Control__CollectionStatus *item)
{
    if (!item->filling)
        return 1;
    return item->total == 0 ? 0 : (double)item->done / (double)item->total;
}

void tern_vectors_status_json(struct tern_json *json, const Tern__Control__Status *status)
{
    tern_json_array(json, "collections");
    for (size_t i = 0; i < status->n_collections; i++) {
        const Tern__Control__CollectionStatus *item = status->collections[i];

        tern_json_object(json, NULL);
        tern_json_string(json, "name", item->name);
        tern_json_u64(json, "id", item->id);
        tern_json_string(json, "state", item->error[0] != '\0' ? "stuck" : state_of(item));
        tern_json_string(json, "error", item->error[0] != '\0' ? item->error : NULL);
        tern_json_bool(json, "served", item->served);
        tern_json_u64(json, "live", item->live);
        tern_json_u64(json, "capacity", item->capacity);
        tern_json_u64(json, "tail", item->tail);
        tern_json_u64(json, "deleted", item->deleted);
        tern_json_u64(json, "bytes", item->bytes);
        tern_json_u64(json, "payload_bytes", item->payload_bytes);
        tern_json_u64(json, "stored_seq", item->stored_seq);
        tern_json_u64(json, "applied_seq", item->applied_seq);
        tern_json_u64(json, "skipped", item->skipped);
        tern_json_u64(json, "writes_waiting", item->writes_waiting);
        tern_json_u64(json, "commit_p99_us", item->commit_p99_us);
        tern_json_u64(json, "ack_p99_us", item->ack_p99_us);
        if (item->filling) {
            tern_json_object(json, "filling");
            tern_json_u64(json, "done", item->done);
            tern_json_u64(json, "total", item->total);
            tern_json_double(json, "percent", 100 * share_of(item));
            tern_json_double(json, "vectors_per_s", item->rate);
            if (item->left_ms != 0)
                tern_json_double(json, "left_s", (double)item->left_ms / 1000);
            else
                tern_json_null(json, "left_s");
            tern_json_object_end(json);
        } else {
            tern_json_null(json, "filling");
        }
        tern_json_object_end(json);
    }
    tern_json_array_end(json);
}

/* A line for each that is not complete: how far, how fast, how long. */
static void print_filling(const Tern__Control__CollectionStatus *item)
{
    char done[TERN_PRINT_TEXT], total[TERN_PRINT_TEXT], rate[TERN_PRINT_TEXT];
    char share[TERN_PRINT_TEXT];

    printf("%-13s %s: %s of %s (%s), %s vectors/s", item->served ? "filling" : "building",
           item->name, tern_print_count(done, item->done), tern_print_count(total, item->total),
           tern_print_share(share, share_of(item)), tern_print_rate(rate, item->rate));
    if (item->error[0] != '\0')
        printf("; STUCK: %s", item->error);
    else if (item->left_ms != 0)
        printf(", %.0f s left", (double)item->left_ms / 1000);
    putchar('\n');
}

void tern_vectors_status_print(const Tern__Control__Status *status)
{
    static const char *const headings[] = {"collection", ">vectors", ">of",      ">unlinked",
                                           ">deleted",   ">bytes",   ">waiting", ">commit p99",
                                           ">ack p99",   ""};
    struct tern_print_table table;

    if (status->n_collections == 0)
        return;
    putchar('\n');
    tern_print_table_begin(&table, TERN_COUNT(headings), headings);
    for (size_t i = 0; i < status->n_collections; i++) {
        const Tern__Control__CollectionStatus *item = status->collections[i];
        char live[TERN_PRINT_TEXT], capacity[TERN_PRINT_TEXT], tail[TERN_PRINT_TEXT];
        char deleted[TERN_PRINT_TEXT], bytes[TERN_PRINT_TEXT], waiting[TERN_PRINT_TEXT];
        char commit[TERN_PRINT_TEXT], ack[TERN_PRINT_TEXT];

        tern_print_table_row(
            &table,
            (const char *const[]){
                item->name, tern_print_count(live, item->live),
                tern_print_count(capacity, item->capacity), tern_print_count(tail, item->tail),
                tern_print_count(deleted, item->deleted), tern_print_bytes(bytes, item->bytes),
                tern_print_count(waiting, item->writes_waiting),
                tern_print_ns(commit, 1000 * item->commit_p99_us),
                tern_print_ns(ack, 1000 * item->ack_p99_us), state_of(item)});
    }
    tern_print_table_end(&table);
    if (status->collections_huge_bytes != 0) {
        char bytes[TERN_PRINT_TEXT];

        printf("%s of vectors are on huge pages\n",
               tern_print_bytes(bytes, status->collections_huge_bytes));
    }
    for (size_t i = 0; i < status->n_collections; i++)
        if (status->collections[i]->filling)
            print_filling(status->collections[i]);
}
