/* What struct tern_store is, for its own files: store.c, history.c, audit.c. */
#ifndef TERN_STORE_PRIVATE_H
#define TERN_STORE_PRIVATE_H

#include "controlplane/database.h"
#include "controlplane/store.h"

struct tern_store {
    struct tern_database database;
};

#endif
