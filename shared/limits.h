/* Every bound in one place, with the reason beside it and the relations between them asserted. */
#ifndef TERN_LIMITS_H
#define TERN_LIMITS_H

#include "shared/base.h"

/* Language and schema (DESIGN 5). Exceeding one is a build error, never a surprise at run time. */
#define TERN_RULES_MAX               65536u /* u32 on the wire; bounds compile time and rows */
#define TERN_CONJUNCTIONS_MAX        64u  /* per rule, after expansion to disjunctive normal form */
#define TERN_FIELDS_MAX              255u /* u8 field id on the wire, 0 is the decision key */
#define TERN_TABLES_MAX              4096u
#define TERN_COLLECTIONS_MAX         64u /* of vectors; one thread of tern-control writes them all */
#define TERN_COLLECTION_CAPACITY_MAX 500000000u /* vectors; slots are u32, some are spare */
#define TERN_COLUMNS_MAX             64u   /* per table; one record row stays a few cache lines */
#define TERN_STRING_MAX              8192u /* bytes of one field value or literal */
#define TERN_DIM_MAX                 16000u
#define TERN_NAME_MAX                63u /* bytes of a field, table, column, rule or instance name */
#define TERN_THRESHOLDS_MAX          16u
#define TERN_UNITS_MAX               1024u /* classifiers of one rule set; bounds per-loop scratch */
#define TERN_PATTERNS_MAX                                                                          \
    262144u                   /* expressions of one field, those of its pattern sets included      \
                               */
#define TERN_BLOCK_BITS 512u  /* one cache line of conjunction bits */
#define TERN_BLOCKS_MAX 2048u /* 1,048,576 conjunctions; bounds per-loop scratch */

/* Protocol (DESIGN 4). */
#define TERN_FRAME_HEADER      16u
#define TERN_MAX_FRAME_DEFAULT (1u << 20)
#define TERN_MAX_FRAME_LIMIT   (64u << 20)
#define TERN_ITEMS_MAX         4096u
#define TERN_HELLO_MAX         512u
#define TERN_TOKENS_MAX        16u  /* valid at a time: a few clients, two each while one rotates */
#define TERN_TOKEN_MIN         16u  /* bytes: what is shorter can be guessed */
#define TERN_TOKEN_MAX         255u /* u8 length on the wire */
#define TERN_VECTOR_WIDTH      32u  /* items decided together; 32 outstanding line fetches */

/* Decision log. */
#define TERN_LOG_FILE_MIN        (64u << 10) /* a file holds more than one write of the drain */
#define TERN_LOG_FILES_MAX       10000u
#define TERN_LOG_DIRECTORY_BYTES 256u

/* Processes. */
#define TERN_SEATS_MAX    16u
#define TERN_READERS_MAX  64u
#define TERN_LOOPS_MAX    64u
#define TERN_HELPERS_MAX  8u
#define TERN_LISTEN_MAX   8u
#define TERN_LISTEN_BYTES 128u   /* sun_path is 108 */
#define TERN_SECTIONS_MAX 16384u /* tables + classes + rules of one manifest */

/* Sources. */
#define TERN_LINE_MAX 65536u /* one line of a source file */

_Static_assert(TERN_RULES_MAX * 16ull <= TERN_BLOCKS_MAX * (uint64_t)TERN_BLOCK_BITS,
               "a full rule set has room for 16 conjunctions a rule on average");
_Static_assert(TERN_ITEMS_MAX * 2ull < TERN_MAX_FRAME_DEFAULT, "a full batch fits a default frame");
_Static_assert(TERN_STRING_MAX < 65536, "field lengths are u16 on the wire");
_Static_assert(TERN_SECTIONS_MAX >= 2 * TERN_TABLES_MAX + TERN_UNITS_MAX,
               "every table and every map unit has its section");

#endif
