/* What the collections are doing, for whoever asks. */
#include "controlplane/collections/state.h"

#include "shared/clock.h"

static uint64_t payload_bytes(const struct tern_collection_header *header, uint64_t slots)
{
    uint32_t entries = atomic_load_explicit(&header->dictionary_count, memory_order_acquire);
    const uint8_t *base = (const uint8_t *)header;
    uint64_t bytes = entries * sizeof(struct tern_dictionary_entry);

    for (unsigned i = 0; i < header->column_count; i++)
        bytes += slots * header->columns[i].width;
    if (header->column_count != 0)
        bytes += slots * sizeof(uint16_t);
    if (entries != 0) {
        const struct tern_dictionary_entry *last =
            (const struct tern_dictionary_entry *)(const void *)(base + header->dictionary) +
            entries - 1;

        bytes += last->offset + last->length;
    }
    return bytes;
}

static void read_object(const struct tern_collections_object *object,
                        struct tern_collection_status *status)
{
    const struct tern_collection_header *header = tern_graph_collection(object->graph)->header;
    uint64_t slots = atomic_load_explicit(&header->slot_count, memory_order_acquire),
             tail = atomic_load_explicit(&header->tail, memory_order_acquire),
             elapsed_us = tern_clock_now_us() - object->began_us;

    status->live = atomic_load_explicit(&header->live_count, memory_order_relaxed);
    status->deleted = atomic_load_explicit(&header->deleted_count, memory_order_relaxed);
    status->tail = (uint32_t)((tail >> 32) - tail);
    status->capacity = object->spec.shape.capacity;
    status->bytes = slots * (header->links_stride + header->code_stride + header->vector_stride +
                             sizeof(struct tern_vector_meta)) +
                    (uint64_t)atomic_load_explicit(&header->upper_count, memory_order_relaxed) *
                        header->upper_stride;
    status->payload_bytes = payload_bytes(header, slots);
    status->applied_seq = tern_graph_applied(object->graph);
    status->filling = object->filling;
    status->done = object->done;
    status->total = object->total;
    status->skipped = object->skipped;
    if (object->filling && elapsed_us != 0)
        status->rate = (double)(object->done - object->began_done) * 1e6 / (double)elapsed_us;
    if (object->filling && object->failure.code != 0)
        snprintf(status->error, sizeof status->error, "%.255s", object->failure.message);
}

unsigned tern_collections_status(struct tern_collections *collections,
                                 struct tern_collection_status *statuses, unsigned max)
{
    unsigned count = 0;

    pthread_mutex_lock(&collections->mutex);
    for (const struct tern_collections_object *object = collections->objects;
         object != NULL && count < max; object = object->next) {
        struct tern_collection_status *status = &statuses[count++];

        *status = (struct tern_collection_status){
            .id = object->spec.id,
            .served = object->served,
            .stored_seq = collections->stored_seq,
            .writes_waiting = object->name->waiting,
            .commit_p99_us = tern_collections_times_p99_us(&collections->commits),
            .ack_p99_us = tern_collections_times_p99_us(&collections->acknowledgements),
        };
        memcpy(status->name, object->spec.name, sizeof status->name);
        read_object(object, status);
    }
    pthread_mutex_unlock(&collections->mutex);
    return count;
}
