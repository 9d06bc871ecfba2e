/* Two threads of the control plane begin graces on one epoch word: the builder, before it frees what a
 * root no longer reaches, and the writer of vectors, before it uses a slot again that no list links to
 * any more (controlplane/publish/reclaim.c; shared/vector/format.h). The readers are those of
 * publish.pml, R1…R4; here each looks at both, at what a root reaches and at what a list links to.
 *
 * Both threads store (C1) into a first-in-first-out buffer and add to the epoch (C2) in memory, which an
 * atomic addition with release does after everything that was stored before it. README.md says what each
 * mutant removes. */

#ifndef READERS
#define READERS 2
#endif
#ifndef GRACES
#define GRACES 2    /* of each thread */
#endif

#define IDLE    0
#define BUILDER 0
#define WRITER  1

/* What the two threads hand on works alike: place 1 or 2 is named (by the root, by a list), the other is
 * free to be used again. Of each: which is named, and what it holds, 0 while it is being overwritten. */
byte named[2] = 1;
byte held[6];                /* of place p of thread w: held[3 * w + p] */
byte epoch = 1;
byte reader_epoch[READERS];

chan buffer[READERS] = [1] of { byte };     /* R1 on its way */
chan stores[2] = [2] of { byte };           /* C1 on its way */

proctype machine()
{
    byte value;
end:
    do
    :: atomic { nempty(buffer[0]) -> buffer[0]?value; reader_epoch[0] = value; value = 0 }
#if READERS > 1
    :: atomic { nempty(buffer[1]) -> buffer[1]?value; reader_epoch[1] = value; value = 0 }
#endif
    :: atomic { nempty(stores[BUILDER]) -> stores[BUILDER]?value; named[BUILDER] = value; value = 0 }
    :: atomic { nempty(stores[WRITER]) -> stores[WRITER]?value; named[WRITER] = value; value = 0 }
    od
}

/* Enters, finds a place through each of the two names, looks at both once more before it leaves. */
proctype reader(byte r)
{
    byte mine, seen, root, slot;
end:
    do
    :: mine = epoch;
        do
        :: buffer[r]!mine;                     /* R1 */
#ifndef NO_R2
            empty(buffer[r]);                  /* R2, pairs with C3 */
#endif
            seen = epoch;                      /* R3 */
            if
            :: seen == mine -> break
            :: else -> mine = seen
            fi
        od;
        root = named[BUILDER];                 /* R4 */
        assert(held[root] != 0);
        slot = named[WRITER];
        assert(held[3 + slot] != 0);
        atomic { assert(held[root] != 0); assert(held[3 + slot] != 0) };
        atomic {
            empty(buffer[r]);
            reader_epoch[r] = IDLE;
            mine = 0; seen = 0; root = 0; slot = 0
        }
    od
}

#define past(r, number) (reader_epoch[r] == IDLE || reader_epoch[r] > number)

/* Names the other place, waits until nobody can look at the one before, overwrites that. */
proctype changer(byte w)
{
    byte number, old, round;

    do
    :: round < GRACES ->
        atomic { old = named[w]; stores[w]!(3 - old) };            /* C1 */
#ifdef PLAIN_C2
        number = epoch;
        atomic { empty(stores[w]); epoch = number + 1 };           /* loaded and stored: an addition is lost */
#else
        atomic { empty(stores[w]); number = epoch; epoch++ };      /* C2, C3 */
#endif
#ifndef NO_C4
        atomic { past(0, number) };                                /* C4, reader by reader */
#if READERS > 1
        atomic { past(1, number) };
#endif
#endif
        held[3 * w + old] = 0;
        held[3 * w + old] = round + 2;
        round++
    :: else -> break
    od
}

init {
    atomic {
        held[1] = 1; held[2] = 1; held[4] = 1; held[5] = 1;
        run machine();
        run reader(0);
#if READERS > 1
        run reader(1);
#endif
        run changer(BUILDER);
        run changer(WRITER)
    }
}
