#include "perf/mmdb.h"

#include "shared/tables/prefix.h"

#include <errno.h>

#define EMPTY       0u          /* a record of the tree being made: nothing, */
#define DATA        0x80000000u /* data at this offset, or a node's number */
#define RECORD_BITS 24u
#define V4_DEPTH    96u

struct node {
    uint32_t child[2];
};

struct writer {
    struct node *nodes;
    uint32_t count, capacity;
    struct tern_buffer data;
    uint32_t *offsets; /* of each value's data, plus one; 0: not written yet */
};

static void need(bool ok)
{
    if (!ok)
        abort();
}

static uint32_t new_node(struct writer *writer)
{
    if (writer->count == writer->capacity) {
        writer->capacity = writer->capacity == 0 ? 1024 : writer->capacity * 2;
        writer->nodes = realloc(writer->nodes, writer->capacity * sizeof *writer->nodes);
        need(writer->nodes != NULL);
    }
    assert(writer->nodes != NULL);
    writer->nodes[writer->count] = (struct node){{EMPTY, EMPTY}};
    return writer->count++;
}

/* ---- Data fields: a control byte of type and size, then the bytes ---- */

enum { UTF8 = 2, UINT16 = 5, UINT32 = 6, MAP = 7, UINT64 = 9, ARRAY = 11 };

static void put_control(struct tern_buffer *out, unsigned type, unsigned size)
{
    uint8_t bytes[2] = {(uint8_t)((type > MAP ? 0 : type) << 5 | size), (uint8_t)(type - MAP)};

    need(size < 29 && tern_buffer_append(out, bytes, type > MAP ? 2 : 1) == 0);
}

static void put_text(struct tern_buffer *out, const char *text)
{
    put_control(out, UTF8, (unsigned)strlen(text));
    need(tern_buffer_append(out, text, strlen(text)) == 0);
}

static void put_number(struct tern_buffer *out, unsigned type, uint64_t value)
{
    uint8_t bytes[8];
    unsigned size = 0;

    for (unsigned shift = 64; shift > 0; shift -= 8)
        if (value >> (shift - 8) != 0)
            bytes[size++] = (uint8_t)(value >> (shift - 8));
    put_control(out, type, size);
    need(tern_buffer_append(out, bytes, size) == 0);
}

/* Where the data of `number` are; written at its first use. */
static uint32_t data_of(struct writer *writer, uint32_t value, uint32_t number)
{
    if (writer->offsets[value] == 0) {
        writer->offsets[value] = (uint32_t)writer->data.length + 1;
        put_control(&writer->data, MAP, 1);
        put_text(&writer->data, MMDB_NUMBER_KEY);
        put_number(&writer->data, UINT32, number);
    }
    return writer->offsets[value] - 1;
}

/* ---- The tree ---- */

/* `key` is left-aligned: its first `length` bits are the way from node 0. */
static void insert(struct writer *writer, tern_build_key key, unsigned length, uint32_t record)
{
    uint32_t at = 0;

    for (unsigned depth = 0; depth + 1 < length; depth++) {
        unsigned bit = (unsigned)(key >> (127 - depth)) & 1;

        if (writer->nodes[at].child[bit] == EMPTY) {
            uint32_t fresh = new_node(writer);

            writer->nodes[at].child[bit] = fresh;
        }
        at = writer->nodes[at].child[bit];
        assert((at & DATA) == 0);
    }
    writer->nodes[at].child[(unsigned)(key >> (128 - length)) & 1] = record;
}

/* [first, last] of `bits` bits as the largest prefixes that fit, each below `base`. */
static void insert_range(struct writer *writer, tern_build_key base, unsigned bits,
                         tern_build_key first, tern_build_key last, uint32_t record)
{
    for (;;) {
        unsigned free_bits = 0;
        tern_build_key block;

        while (free_bits < bits) {
            block = (((tern_build_key)1 << free_bits) << 1) - 1;
            if ((first & block) != 0 || last - first < block)
                break;
            free_bits++;
        }
        insert(writer, base | first, 128 - free_bits, record);
        block = free_bits == 128 ? ~(tern_build_key)0 : ((tern_build_key)1 << free_bits) - 1;
        if (last - first <= block)
            return;
        first += block + 1;
    }
}

static void insert_family(struct writer *writer, const struct tern_prefix_family *family,
                          unsigned bits, const uint32_t *numbers)
{
    for (size_t i = 0; i < family->segment_count; i++) {
        const struct tern_prefix_segment *segment = &family->segments[i];
        tern_build_key last =
            i + 1 < family->segment_count ? segment[1].start - 1 : ~(tern_build_key)0;

        if (segment->value == TERN_PREFIX_NONE)
            continue;
        insert_range(writer, 0, bits, segment->start >> (128 - bits), last >> (128 - bits),
                     DATA | data_of(writer, segment->value, numbers[segment->value]));
    }
}

/* ---- The file ---- */

static void put_record(struct tern_buffer *out, const struct writer *writer, uint32_t child)
{
    uint32_t value = child;
    uint8_t bytes[3];

    if (child == EMPTY)
        value = writer->count;
    else if ((child & DATA) != 0)
        value = writer->count + 16 + (child & ~DATA);
    bytes[0] = (uint8_t)(value >> 16);
    bytes[1] = (uint8_t)(value >> 8);
    bytes[2] = (uint8_t)value;
    need(tern_buffer_append(out, bytes, sizeof bytes) == 0);
}

static void put_metadata(struct tern_buffer *out, uint32_t node_count)
{
    static const char marker[] = "\xab\xcd\xefMaxMind.com";

    need(tern_buffer_append(out, marker, sizeof marker - 1) == 0);
    put_control(out, MAP, 9);
    put_text(out, "binary_format_major_version");
    put_number(out, UINT16, 2);
    put_text(out, "binary_format_minor_version");
    put_number(out, UINT16, 0);
    put_text(out, "build_epoch");
    put_number(out, UINT64, 1); /* 0 is refused */
    put_text(out, "database_type");
    put_text(out, "tern-ASN");
    put_text(out, "description");
    put_control(out, MAP, 1);
    put_text(out, "en");
    put_text(out, "ranges of a benchmark");
    put_text(out, "ip_version");
    put_number(out, UINT16, 6);
    put_text(out, "languages");
    put_control(out, ARRAY, 1);
    put_text(out, "en");
    put_text(out, "node_count");
    put_number(out, UINT32, node_count);
    put_text(out, "record_size");
    put_number(out, UINT16, RECORD_BITS);
}

int mmdb_write(const struct tern_prefix_builder *builder, const uint32_t *numbers,
               uint32_t number_count, const char *path, size_t *bytes, struct tern_error *error)
{
    struct writer writer = {0};
    struct tern_buffer out = {0};
    FILE *file = fopen(path, "we");
    int code = 0;

    if (file == NULL)
        return tern_error_system(error, errno, "cannot make %s", path);
    writer.offsets = calloc(number_count, sizeof *writer.offsets);
    need(writer.offsets != NULL);
    new_node(&writer);
    insert_family(&writer, &builder->v4, 128 - V4_DEPTH, numbers);
    insert_family(&writer, &builder->v6, 128, numbers);
    if (writer.count + 16 + writer.data.length >= 1u << RECORD_BITS) {
        code = tern_error_set(error, TERN_ELIMIT, "%u nodes and %zu bytes of data: over 24 bits",
                              writer.count, writer.data.length);
    } else {
        for (uint32_t i = 0; i < writer.count; i++) {
            put_record(&out, &writer, writer.nodes[i].child[0]);
            put_record(&out, &writer, writer.nodes[i].child[1]);
        }
        need(tern_buffer_append_zero(&out, 16) == 0);
        need(tern_buffer_append(&out, writer.data.data, writer.data.length) == 0);
        put_metadata(&out, writer.count);
        if (fwrite(out.data, 1, out.length, file) != out.length)
            code = tern_error_system(error, errno, "cannot write %s", path);
        *bytes = out.length;
    }
    if (fclose(file) != 0 && code == 0)
        code = tern_error_system(error, errno, "cannot write %s", path);
    tern_buffer_free(&writer.data);
    tern_buffer_free(&out);
    free(writer.nodes);
    free(writer.offsets);
    return code;
}
