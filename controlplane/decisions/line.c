#include "controlplane/decisions/line.h"

#include "shared/verdict.h"

#include <math.h>
#include <time.h>

static const char digits[] = "00010203040506070809101112131415161718192021222324252627282930313233"
                             "34353637383940414243444546474849505152535455565758596061626364656667"
                             "6869707172737475767778798081828384858687888990919293949596979899";

static char *put(char *out, const char *text, size_t length)
{
    memcpy(out, text, length);
    return out + length;
}

/* For texts that stand in the source: their length is known when it is compiled. */
#define PUT(out, text) put(out, text, sizeof text - 1)

/* How many digits a number has. */
static unsigned digit_count(uint64_t number)
{
    unsigned count = 1;

    for (; number >= 10000; number /= 10000)
        count += 4;
    return count + (number >= 10) + (number >= 100) + (number >= 1000);
}

static char *put_number(char *out, uint64_t number)
{
    char *end = out + digit_count(number), *at = end;

    for (; number >= 100; number /= 100) {
        at -= 2;
        memcpy(at, digits + number % 100 * 2, 2);
    }
    if (number >= 10)
        memcpy(out, digits + number * 2, 2);
    else
        *out = (char)('0' + number);
    return end;
}

/* Exactly six digits, with leading zeros. */
static char *put_six(char *out, unsigned number)
{
    memcpy(out, digits + number / 10000 * 2, 2);
    memcpy(out + 2, digits + number / 100 % 100 * 2, 2);
    memcpy(out + 4, digits + number % 100 * 2, 2);
    return out + 6;
}

static char *put_time(struct tern_line_writer *writer, char *out, uint64_t at_us)
{
    uint64_t second = at_us / 1000000;

    if (second != writer->second || writer->date[0] == '\0') {
        time_t when = (time_t)second;
        struct tm calendar;

        /* Years of five digits are garbage from a ring that is none. */
        if (gmtime_r(&when, &calendar) == NULL ||
            strftime(writer->date, sizeof writer->date, "%Y-%m-%dT%H:%M:%S.", &calendar) != 20)
            snprintf(writer->date, sizeof writer->date, "1970-01-01T00:00:00.");
        writer->second = second;
    }
    out = put(out, writer->date, sizeof "2026-11-28T05:20:01." - 1);
    out = put_six(out, (unsigned)(at_us % 1000000));
    return PUT(out, "Z");
}

static char *put_score(char *out, float score)
{
    if (score >= 0 && score < 1e9f && score == (float)(uint32_t)score)
        return put_number(out, (uint32_t)score);
    if (!isfinite(score))
        return PUT(out, "null");
    return out + snprintf(out, 24, "%.9g", (double)score);
}

static char *put_rule(const struct tern_line_writer *writer, char *out,
                      const struct tern_log_record *record)
{
    size_t length = 0;
    const char *name;

    if (record->rule == 0)
        return PUT(out, "null");
    name = tern_names_find(writer->names, record->generation, record->rule, &length);
    out = PUT(out, "\"");
    if (name != NULL) { /* an id has nothing that JSON would escape */
        out = put(out, name, length);
    } else {
        out = PUT(out, "#"); /* no id begins with it */
        out = put_number(out, record->rule);
    }
    return PUT(out, "\"");
}

/* A text with its length beside it. */
struct word {
    const char *text;
    size_t length;
};
#define WORD(text)                                                                                 \
    {                                                                                              \
        text, sizeof text - 1                                                                      \
    }

static char *put_action(char *out, unsigned action)
{
    static const struct word names[] = {WORD("allow"), WORD("deny"), WORD("challenge"),
                                        WORD("undecided")};

    return put(out, names[action & 3].text, names[action & 3].length);
}

static char *put_cause(char *out, unsigned cause)
{
    static const struct word names[] = {WORD("default"), WORD("rule"), WORD("threshold"),
                                        WORD("escalation_unavailable"), WORD("unknown")};
    const struct word *name = &names[tern_min_u64(cause, TERN_COUNT(names) - 1)];

    return put(out, name->text, name->length);
}

static char *put_flags(char *out, unsigned flags)
{
    static const char *const names[] = {"stale", "degraded", "pending", "canary", "cached", "shed"};
    bool any = false;

    out = PUT(out, ",\"flags\":[");
    for (unsigned i = 0; i < TERN_COUNT(names); i++) {
        if ((flags & 1u << i) == 0)
            continue;
        out = any ? PUT(out, ",\"") : PUT(out, "\"");
        out = put(out, names[i], strlen(names[i]));
        out = PUT(out, "\"");
        any = true;
    }
    return PUT(out, "]");
}

static char *put_hex(char *out, const uint8_t *bytes, unsigned count)
{
    static const char hex[] = "0123456789abcdef";

    for (unsigned i = 0; i < count; i++) {
        *out++ = hex[bytes[i] >> 4];
        *out++ = hex[bytes[i] & 15];
    }
    return out;
}

/* As the header `traceparent` has it. */
static char *put_trace(char *out, const uint8_t context[25])
{
    out = PUT(out, ",\"trace\":\"00-");
    out = put_hex(out, context, 16);
    out = PUT(out, "-");
    out = put_hex(out, context + 16, 8);
    out = PUT(out, "-");
    out = put_hex(out, context + 24, 1);
    return PUT(out, "\"");
}

/* The same in every line of a loop. */
static char *put_place(struct tern_line_writer *writer, char *out)
{
    if (writer->place_length == 0)
        writer->place_length =
            (unsigned)snprintf(writer->place, sizeof writer->place, ",\"seat\":%u,\"loop\":%u",
                               writer->seat, writer->loop);
    return put(out, writer->place, writer->place_length);
}

size_t tern_line_write(struct tern_line_writer *writer, const struct tern_log_record *record,
                       const struct tern_log_trace *trace, char *out)
{
    char *start = out;

    out = PUT(out, "{\"time\":\"");
    out = put_time(writer, out, record->at_us);
    out = PUT(out, "\",\"action\":\"");
    out = put_action(out, record->action);
    out = PUT(out, "\",\"rule\":");
    out = put_rule(writer, out, record);
    out = PUT(out, ",\"score\":");
    out = put_score(out, record->score);
    out = PUT(out, ",\"cause\":\"");
    out = put_cause(out, record->cause);
    out = PUT(out, "\",\"generation\":");
    out = put_number(out, record->generation);
    /* A text: JSON's readers round what needs more than 53 bits. */
    out = PUT(out, ",\"key\":\"");
    out = put_number(out, record->decision_key);
    out = PUT(out, "\",\"request\":");
    out = put_number(out, record->request_id);
    out = PUT(out, ",\"item\":");
    out = put_number(out, record->item);
    out = PUT(out, ",\"tier\":");
    out = put_number(out, record->tier);
    if (record->flags != 0)
        out = put_flags(out, record->flags);
    if (trace != NULL)
        out = put_trace(out, trace->context);
    out = put_place(writer, out);
    out = PUT(out, ",\"recv_ns\":");
    out = put_number(out, record->stage_ns[0]);
    out = PUT(out, ",\"decode_ns\":");
    out = put_number(out, record->stage_ns[1]);
    out = PUT(out, ",\"tier1_ns\":");
    out = put_number(out, record->stage_ns[2]);
    out = PUT(out, "}\n");
    assert((size_t)(out - start) <= TERN_LINE_BYTES_MAX);
    return (size_t)(out - start);
}

size_t tern_line_write_lost(struct tern_line_writer *writer, uint64_t at_us, uint64_t lost,
                            char *out)
{
    char *start = out;

    out = PUT(out, "{\"time\":\"");
    out = put_time(writer, out, at_us);
    out = PUT(out, "\",\"lost\":");
    out = put_number(out, lost);
    out = put_place(writer, out);
    out = PUT(out, "}\n");
    return (size_t)(out - start);
}
