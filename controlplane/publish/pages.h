/* The pages of in-process readers as tern-control has them: it makes the files and only reads what
 * their holders write. */
#ifndef TERN_PAGES_H
#define TERN_PAGES_H

#include "shared/reader_page.h"

struct tern_pages {
    struct tern_reader_page_map maps[TERN_READERS_MAX];
};

/* Makes what is missing of RUN_DIR/readers (beside the arena, on tmpfs, each page allocated) and
 * maps it all read-only. A file that is no page is replaced: whoever holds it without a page that
 * says so stops reclaim until it ends. */
int tern_pages_open(const char *run_dir, struct tern_pages *pages, struct tern_error *error);
void tern_pages_close(struct tern_pages *pages);

/* What page `index` says when a live process holds it for this arena. TERN_ENOENT: nobody holds it;
 * TERN_EAGAIN: somebody does who does not (yet) say what it reads. */
int tern_pages_look(const struct tern_pages *pages, const struct tern_arena *arena, unsigned index,
                    const struct tern_reader_page **page);

#endif
