/* Micro benchmark of what a request's texts go through before rules see them: nanoseconds a value,
 * for values that are normal already, that have to be written anew, and for the worst that somebody
 * could send; beside them what libidn2 takes for the same names, which it allocates for.
 *
 * Usage: texts [--small]. Prints a checksum over all results; the same input gives the same one. */
#include "perf/chain.h"
#include "shared/host.h"
#include "shared/idna.h"
#include "shared/normalize.h"

#include <idn2.h>

#define ROUNDS 5 /* the fastest counts: whatever else the machine did only ever adds */
#define EVERY  31

static uint64_t checksum;

enum way { PATH, HOST, LIBRARY };

static size_t treat(enum way way, const uint8_t *in, size_t length, uint8_t *out)
{
    char *theirs = NULL;

    switch (way) {
    case PATH:
        return tern_normalize_is_normal(EVERY, in, length) ? length
                                                           : tern_normalize(EVERY, in, length, out);
    case HOST:
        if (!tern_host_is_folded(in, length))
            tern_host_fold(in, length, out, &length);
        return length;
    default:
        if (idn2_to_ascii_8z((const char *)in, &theirs, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) == 0)
            length = strlen(theirs);
        idn2_free(theirs);
        return length;
    }
}

static void measure(const char *what, enum way way, const uint8_t *in, size_t length,
                    unsigned count)
{
    static uint8_t out[TERN_STRING_MAX + TERN_HOST_GROWTH];
    double best = 0;
    size_t result = 0;

    for (unsigned round = 0; round < ROUNDS; round++) {
        double started = tern_chain_now_ns(), took;

        for (unsigned i = 0; i < count; i++) {
            __asm__("" : "+r"(in), "+r"(length)); /* no two turns are the same to the compiler */
            result = treat(way, in, length, out);
        }
        took = (tern_chain_now_ns() - started) / count;
        if (round == 0 || took < best)
            best = took;
    }
    checksum = checksum * 31 + result;
    printf("%-44s %5zu bytes %9.1f ns\n", what, length, best);
}

static void measure_text(const char *what, enum way way, const char *text, unsigned count)
{
    measure(what, way, (const uint8_t *)text, strlen(text), count);
}

int main(int argc, char **argv)
{
    unsigned count = argc > 1 && strcmp(argv[1], "--small") == 0 ? 100 : 200000;
    static uint8_t longest[TERN_STRING_MAX], name[TERN_IDNA_INPUT_MAX];

    measure_text("path, normal", PATH, "/images/logo.png", count);
    measure_text("path, normal", PATH, "/presentations/logstash-puppetconf-2012/css/theme", count);
    measure_text("path, written anew", PATH, "/presentations/Logstash%2Dpuppetconf/../css//x?a",
                 count);
    memset(longest, 'a', sizeof longest);
    measure("path, normal, the longest", PATH, longest, sizeof longest, count / 50);
    for (size_t i = 0; i + 4 <= sizeof longest; i += 4)
        memcpy(longest + i, i < sizeof longest / 2 ? "/%41" : "/../", 4);
    measure("path, written anew, the longest", PATH, longest, sizeof longest, count / 50);
    measure_text("host, folded", HOST, "www.semicomplete.com", count);
    measure_text("host, to be folded", HOST, "WWW.Semicomplete.com:443", count);
    measure_text("host, to punycode", HOST,
                 "www.b\xc3\xbc"
                 "cher.example",
                 count / 10);
    measure_text("  the same, libidn2", LIBRARY,
                 "www.b\xc3\xbc"
                 "cher.example",
                 count / 10);
    measure_text("host, to punycode", HOST,
                 "\xe4\xbe\x8b\xe3\x81\x88.\xe3\x83\x86\xe3\x82\xb9\xe3\x83\x88", count / 10);
    measure_text("  the same, libidn2", LIBRARY,
                 "\xe4\xbe\x8b\xe3\x81\x88.\xe3\x83\x86\xe3\x82\xb9\xe3\x83\x88", count / 10);
    /* Labels of all different letters, as many as a name may have. */
    for (size_t i = 0, point = 0x4e00; i + 3 <= sizeof name; i += 3, point += 7) {
        name[i] = (uint8_t)(0xe0 | point >> 12);
        name[i + 1] = (uint8_t)(0x80 | (point >> 6 & 0x3f));
        name[i + 2] = (uint8_t)(0x80 | (point & 0x3f));
        if (i % 51 == 48)
            memcpy(name + i, "a.b", 3);
    }
    measure("host, to punycode, long labels", HOST, name, 250, count / 100);
    for (size_t i = 0; i + 3 <= sizeof name; i += 3)
        memcpy(name + i, "\xef\xb7\xba", 3); /* one code point that is eighteen */
    measure("host, refused for its length", HOST, name, 170, count / 100);
    for (size_t i = 0; i + 2 <= sizeof name; i += 2)
        memcpy(name + i, i % 60 == 0 ? "e." : "\xcc\xa3", 2);
    measure("host, marks in a row", HOST, name, 180, count / 100);
    printf("checksum %016llx\n", (unsigned long long)checksum);
    return 0;
}
