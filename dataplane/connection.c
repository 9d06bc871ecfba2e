#include "dataplane/connection.h"

#include <errno.h>
#include <sys/mman.h>

int tern_connection_keep(struct tern_pool *pool, struct tern_connection *connection,
                         const uint8_t *bytes, size_t length)
{
    size_t unread = tern_connection_unread(connection);

    if (length == 0)
        return 0;
    if (connection->input_start > 0 &&
        connection->input_end + length > connection->input.capacity) {
        memmove(connection->input.data, connection->input.data + connection->input_start, unread);
        connection->input_start = 0;
        connection->input_end = (uint32_t)unread;
    }
    if (connection->input_end + length > connection->input.capacity) {
        int code = tern_pool_grow(pool, &connection->input, unread, connection->input_end + length);

        if (code < 0)
            return code;
    }
    memcpy(connection->input.data + connection->input_end, bytes, length);
    connection->input_end += (uint32_t)length;
    return 0;
}

void tern_connection_forget(struct tern_pool *pool, struct tern_connection *connection,
                            size_t bytes)
{
    connection->input_start += (uint32_t)bytes;
    if (connection->input_start == connection->input_end) {
        connection->input_start = connection->input_end = 0;
        tern_pool_give(pool, &connection->input);
    }
}

uint8_t *tern_connection_reserve_slow(struct tern_pool *pool, struct tern_connection *connection,
                                      size_t bytes)
{
    if (tern_pool_grow(pool, &connection->output, connection->output_end,
                       connection->output_end + bytes) < 0)
        return NULL;
    return connection->output.data + connection->output_end;
}

int tern_connection_table_open(struct tern_connection_table *table, uint32_t limit,
                               struct tern_error *error)
{
    size_t bytes = tern_align_up((uint64_t)limit * sizeof(struct tern_connection), TERN_PAGE);
    void *all = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (all == MAP_FAILED)
        return tern_error_system(error, errno, "cannot reserve %zu bytes for %u connections", bytes,
                                 limit);
    *table = (struct tern_connection_table){.all = all, .bytes = bytes, .limit = limit};
    return 0;
}

void tern_connection_table_close(struct tern_connection_table *table)
{
    if (table->all != NULL)
        munmap(table->all, table->bytes);
    *table = (struct tern_connection_table){0};
}

struct tern_connection *tern_connection_take(struct tern_connection_table *table, int fd)
{
    struct tern_connection *connection = table->free;
    uint32_t generation, index;

    if (connection != NULL) {
        table->free = connection->next;
    } else {
        if (table->used == table->limit)
            return NULL;
        connection = &table->all[table->used];
        connection->index = table->used++;
    }
    index = connection->index;
    generation = connection->generation;
    *connection = (struct tern_connection){
        .fd = fd, .index = index, .generation = generation, .state = TERN_CONNECTION_OPEN};
    table->open++;
    return connection;
}

void tern_connection_give(struct tern_connection_table *table, struct tern_pool *pool,
                          struct tern_connection *connection)
{
    tern_pool_give(pool, &connection->input);
    tern_pool_give(pool, &connection->output);
    tern_pool_give(pool, &connection->sending);
    connection->fd = -1;
    connection->state = TERN_CONNECTION_FREE;
    connection->generation++;
    connection->next = table->free;
    table->free = connection;
    table->open--;
}
