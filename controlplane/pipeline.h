/* The inside of struct tern_pipeline, shared by the files that carry a configuration from its
 * tables to the swap: pipeline.c (open, status), tables.c (sources → tables), image.c (tables →
 * sections), apply.c and restore.c (the ways in), candidate.c (verify → announce → swap). */
#ifndef TERN_PIPELINE_H
#define TERN_PIPELINE_H

#include "controlplane/apply.h"
#include "controlplane/archive.h"
#include "controlplane/build/load.h"
#include "controlplane/publish/writer.h"
#include "shared/view.h"

#include <pthread.h>

/* Where a collection of one generation lies. */
struct tern_object {
    struct tern_collection_place place; /* `object` NULL: nowhere */
    bool broken; /* the thread could not take it over: it answers as it is until it is built anew */
};

/* The sections of one generation, published or about to be. */
struct tern_image {
    struct tern_section *sections;
    struct tern_section_info *infos;
    unsigned count;
    unsigned capacity;
    uint64_t new_bytes, shared_bytes;
    struct tern_collection_spec *specs; /* its collections, by id − 1 */
    struct tern_object *objects;        /* likewise */
    unsigned object_count;
};

/* The digest of a source last read, so that an untouched file is not read again. */
struct tern_source_known {
    char *path;
    struct tern_source_identity identity;
};

struct tern_pipeline {
    struct tern_writer writer;
    char *run_dir;
    char *state_dir;
    uint8_t secret[32];
    void (*serving)(void *context, const struct tern_view *view);
    void *context;
    struct tern_view *live; /* of the current root, NULL before the first */
    struct tern_image live_image;
    struct tern_source_known *sources;
    unsigned source_count;
    struct tern_collections *collections; /* NULL: a pipeline without vectors, or … */
    char collections_error[512];          /* … why there is no thread to write them */
    _Atomic uint64_t huge_bytes;          /* of collections, on huge pages since the start */
    _Atomic uint64_t gather_ns;           /* monotonic: no huge pages are asked for until then */
    pthread_mutex_t lock;                 /* guards `status` and nothing else */
    struct tern_pipeline_status status;
};

/* pipeline.c */
/* Takes a fresh picture for tern_pipeline_status. */
void tern_pipeline_refresh_status(struct tern_pipeline *pipeline);

/* image.c */
/* Fills what `table` replaces in `live`, by its name. */
void tern_image_compare(const struct tern_image *live, struct tern_apply_table *table);
/* The tables of `image` as an apply over `live` would report them; *tables is the caller's to free.
 * TERN_ECORRUPT when the image does not fit its schema. */
int tern_image_describe(const struct tern_image *image, const struct tern_image *live,
                        const struct tern_schema *schema, struct tern_apply_table **tables,
                        unsigned *count);
const struct tern_section *tern_image_find(const struct tern_image *image, unsigned kind,
                                           const uint8_t hash[16]);
/* Adds a section of these bytes: shared with the live image when that has the same kind and hash,
 * else written to the arena. `hash` NULL: the hash of the bytes. */
int tern_image_add(struct tern_pipeline *pipeline, struct tern_image *image, unsigned kind,
                   uint32_t owner, const uint8_t *hash, const void *bytes, uint64_t length,
                   const struct tern_section_info *info, struct tern_error *error);
/* tables.c: reads and builds every table of the configuration into `image`, or shares what is
 * served. */
int tern_image_add_tables(struct tern_pipeline *pipeline, struct tern_image *image,
                          const struct tern_config *config,
                          const struct tern_apply_options *options,
                          struct tern_apply_result *result, struct tern_diagnostics *diagnostics,
                          struct tern_error *error);
void tern_image_free(struct tern_image *image);

/* objects.c: the collections of a generation, as its configuration, the archive or the one before
 * has them; then each kept where it lies, or made (reserved, filled from the store). */
int tern_objects_of_config(struct tern_image *image, const struct tern_config *config,
                           struct tern_error *error);
int tern_objects_of_specs(struct tern_image *image, const struct tern_collection_spec *specs,
                          unsigned count, struct tern_error *error);
int tern_objects_of_live(struct tern_image *image, const struct tern_image *live,
                         struct tern_error *error);
int tern_objects_prepare(struct tern_pipeline *pipeline, struct tern_image *image,
                         const struct tern_apply_options *options, struct tern_apply_result *result,
                         struct tern_error *error);
/* As a root lists them; returns how many there are. */
unsigned tern_objects_list(const struct tern_image *image,
                           struct tern_collection_entry entries[TERN_COLLECTIONS_MAX]);
/* The live image is served: the thread lets go of every other object. Before anything that is
 * retired may be freed. */
void tern_objects_commit(struct tern_pipeline *pipeline);
/* The objects that the root of a taken-over arena lists; `known` (may be NULL) is what the archive
 * says of that generation. */
int tern_objects_adopt(struct tern_pipeline *pipeline, const struct tern_archive_list *known,
                       struct tern_error *error);

/* candidate.c: writes root and manifest over the image, verifies by reading it back (and, with
 * `config`, by comparing a sample with the reference evaluator and by its own tests, whose failures
 * go to `diagnostics`), and unless it is a dry run announces and swaps. Takes the image over when
 * it succeeds. */
int tern_candidate_publish(struct tern_pipeline *pipeline, struct tern_image *image,
                           uint64_t schema_hash, const struct tern_config *config,
                           const struct tern_apply_options *options,
                           struct tern_apply_result *result, struct tern_diagnostics *diagnostics,
                           struct tern_error *error);
/* Gives back everything written for a candidate that no reader has been told of. */
void tern_candidate_discard(struct tern_pipeline *pipeline);
void tern_report_progress(const struct tern_apply_options *options, const char *step,
                          unsigned permille, uint64_t rows);

#endif
