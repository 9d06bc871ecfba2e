/* The publication protocol of tern (shared/envelope.h, shared/board.h, shared/manifest.h; the steps
 * R1…R4 and C1…C5 of the design) for spin. README.md says what is checked and what each mutant
 * removes.
 *
 * Memory is a handful of slots; a slot holds one snapshot (root, manifest, sections), named by the
 * sequence number it was announced under, 0 when it is free. Stores that other processes look at go
 * through a first-in-first-out store buffer per thread and reach memory at any later moment (what x86
 * does, and what release stores promise elsewhere); a fence empties the own buffer. */

#ifndef TERNDS
#define TERNDS 1    /* data planes, each with a housekeeping thread and one request loop */
#endif
#ifndef LOCALS
#define LOCALS 0    /* in-process readers, at most 1: a preparing thread and one that decides */
#endif
#ifndef PUBLISHES
#define PUBLISHES 3 /* announcements over the whole run: enough to use a slot again */
#endif
#ifndef KILLS
#define KILLS 0     /* data planes killed at any instant; they may start again */
#endif
#ifndef CRASHES
#define CRASHES 0   /* control-plane crashes at any instant; it always starts again */
#endif
#ifndef VETOES
#define VETOES 0    /* candidates that housekeeping may reject */
#endif
#ifndef SLOTS
#define SLOTS 2     /* snapshots that fit the arena, at most 3 */
#endif

#define NONE    0              /* no slot: slots are named 1…SLOTS */
#define IDLE    0              /* TERN_EPOCH_IDLE */
#define HOLDERS (TERNDS + LOCALS) /* processes that map the arena */
/* Reader 2t is ternd t's housekeeping, 2t + 1 its loop; behind them the three places of a local
 * reader's page, in the order in which pins are handed on. */
#define READERS   (2 * TERNDS + 3 * LOCALS)
#define LOCAL     TERNDS
#define PREPARING (2 * TERNDS)
#define PREPARED_ (PREPARING + 1)
#define CONTEXT   (PREPARING + 2)
#define holder(reader) (reader < 2 * TERNDS -> reader / 2 : LOCAL)
#define CONTROL READERS        /* index of the control plane's store buffer */

mtype = { EPOCH, PIN, PREPARED, ROOT, ANNOUNCED, BELL, READY, REJECTED };

/* The arena: written by the control plane only. */
byte memory[SLOTS + 1];     /* sequence number of the snapshot in the slot, 0: reclaimed */
byte root = NONE;
byte announced = NONE;
byte epoch = 1;
bool bell[HOLDERS];         /* the futex word as ternd t sees it: it has been bumped */

#ifdef SHARING
/* Sections, apart from the snapshots that list them: each snapshot lists one, its own or the one of the
 * snapshot before. Whoever lists a section knows for which snapshot it was written (its hash). */
byte section[SLOTS + 1];    /* sequence number it was written for, 0: free */
byte listed[SLOTS + 1];     /* which section the slot's snapshot lists */
byte listed_seq[SLOTS + 1]; /* and for which sequence number that was written */

#define section_is_used(s) \
    ((memory[1] != 0 && listed[1] == s) || (memory[2] != 0 && listed[2] == s))
#define touch_section(s, seq) assert(section[s] == seq && seq != 0)
#endif

/* The board: written by the reader that holds the seat; stays as it is when the reader dies. */
byte reader_epoch[READERS];
byte reader_pin[READERS];
byte answer_seq[HOLDERS];
mtype answer[HOLDERS];
bool ready[HOLDERS];

/* The kernel: record locks, gone when their process is. */
bool joining[HOLDERS];       /* on TERN_LOCK_JOINING: maps the arena, has no seat yet */
bool seated[HOLDERS];        /* on the seat's byte */
bool alive[HOLDERS];
bool control_alive = true;

/* state.db: survives the control plane. */
byte last_seq = 0;

/* Private to a ternd process, shared by its threads. */
bool serving[HOLDERS];       /* its loop has started and not yet ended */
byte prepared_slot[HOLDERS]; /* the view housekeeping has prepared */
byte prepared_seq[HOLDERS];

/* Seen from outside, for the properties and the budgets. */
bool published[PUBLISHES + 1];
byte kills = KILLS;
byte crashes = CRASHES;
byte vetoes = VETOES;

/* ---- the machine: every thread's store buffer ---------------------------------------------- */

chan buffer[READERS + 1] = [5] of { mtype, byte };

inline reader_drain(who)
{
    if
    :: buffer[who]?EPOCH(value) -> reader_epoch[who] = value
    :: buffer[who]?PIN(value) -> reader_pin[who] = value
#if LOCALS > 0
    :: buffer[who]?PREPARED(value) -> reader_pin[PREPARED_] = value
#endif
    fi;
    value = 0
}

#if TERNDS == 0
#define ring(ignored) skip /* a local reader looks when it pleases */
#elif TERNDS > 1
#define ring(ignored) bell[0] = seated[0]; bell[1] = seated[1]
#else
#define ring(ignored) bell[0] = seated[0]
#endif

inline control_drain()
{
    if
    :: buffer[CONTROL]?EPOCH(value) -> epoch = value
    :: buffer[CONTROL]?ANNOUNCED(value) -> announced = value
    :: buffer[CONTROL]?ROOT(value) -> root = value; published[memory[value]] = true
    :: buffer[CONTROL]?BELL(value) -> ring(0)
    fi;
    value = 0
}

proctype machine()
{
    byte value;
end:
    do
#if TERNDS > 0
    :: atomic { nempty(buffer[0]) -> reader_drain(0) }
    :: atomic { nempty(buffer[1]) -> reader_drain(1) }
#endif
#if LOCALS > 0
    :: atomic { nempty(buffer[PREPARING]) -> reader_drain(PREPARING) }
    :: atomic { nempty(buffer[CONTEXT]) -> reader_drain(CONTEXT) }
#endif
#if TERNDS > 1
    :: atomic { nempty(buffer[2]) -> reader_drain(2) }
    :: atomic { nempty(buffer[3]) -> reader_drain(3) }
#endif
    :: atomic { nempty(buffer[CONTROL]) -> control_drain() }
    od
}

inline reader_fence(who)
{
#ifdef NO_R2
    skip
#else
    do
    :: nempty(buffer[who]) -> reader_drain(who)
    :: empty(buffer[who]) -> break
    od
#endif
}

inline control_fence()
{
    do
    :: nempty(buffer[CONTROL]) -> control_drain()
    :: empty(buffer[CONTROL]) -> break
    od
}

/* ---- reading -------------------------------------------------------------------------------- */

/* Every look at a snapshot: its memory must still hold what the reader believes it holds. */
#define touch(slot, seq) assert(memory[slot] == seq && seq != 0)

/* tern_reader_enter. Nothing but the fence stands between R1 and R2, so both are one step; without
 * the fence the store stays in the buffer. */
inline enter(who, mine)
{
#ifdef COARSE
    atomic {
        mine = epoch;
        buffer[who]!EPOCH(mine);
        reader_fence(who)
    }
#else
    do
    :: atomic { epoch == mine -> break }
    :: atomic { epoch != mine -> seen = epoch };
        atomic {
            mine = seen;
            buffer[who]!EPOCH(seen);     /* R1 */
            seen = 0;
            reader_fence(who)            /* R2, pairs with C3 */
        }
#ifdef NO_R3
        ; break
#endif
        /* R3: around again */
    od
#endif
}

/* A release store: whatever was stored before is visible with it. That it may arrive late only protects
 * for longer, so it arrives at once. */
inline leave(who, mine)
{
    do
    :: nempty(buffer[who]) -> reader_drain(who)
    :: empty(buffer[who]) -> break
    od;
    reader_epoch[who] = IDLE;
    mine = IDLE
}

#ifdef NO_SEQ
#define prepared_for(t, slot, seq) (prepared_slot[t] == slot)
#define view_of(t, seq)            prepared_seq[t]
#else
#define prepared_for(t, slot, seq) (prepared_seq[t] == seq)
#define view_of(t, seq)            seq
#endif

inline serve()
{
    if
    :: serving_slot != NONE ->
        touch(serving_slot, serving_seq);
#ifdef SHARING
        touch_section(listed[serving_slot], listed_seq[serving_slot]);
#endif
        assert(published[serving_seq]) /* never one that was only announced */
    :: else
    fi
}

/* A request loop: enters an epoch once an iteration, adopts the root when its process has prepared
 * exactly that one, serves what it has adopted, sleeps at will. */
proctype loop(byte t)
{
    byte mine, seen, slot, seq, serving_slot, serving_seq, value;

end_down:
    atomic { alive[t] && seated[t] && ready[t] && !serving[t] -> serving[t] = true };
    {
        do
        :: enter(2 * t + 1, mine);
            atomic {
                slot = root;                       /* R4 */
                if
                :: slot != NONE ->
                    seq = memory[slot];
                    assert(seq != 0 && published[seq]);
                    if
                    :: seq != serving_seq && prepared_for(t, slot, seq)
                    :: else -> slot = NONE; seq = 0 /* nothing new that this process has prepared */
                    fi
                :: else
                fi;
                serve()
            };
            if
            :: slot != NONE ->
                atomic {
                    buffer[2 * t + 1]!PIN(slot);
                    seq = view_of(t, seq);
                    assert(seq > serving_seq); /* a loop never goes back */
                    serving_slot = slot;
                    serving_seq = seq;
                    slot = NONE;
                    seq = 0
                }
            :: slot == NONE
            fi
        :: atomic { mine != IDLE -> leave(2 * t + 1, mine) }
        od
    } unless { !alive[t] };
    atomic {
        mine = 0; seen = 0; slot = 0; seq = 0; serving_slot = 0; serving_seq = 0; value = 0;
        serving[t] = false;
        goto end_down
    }
}

/* Which snapshot is to be prepared next: the candidate, or what a late joiner finds published. It is
 * pinned before the epoch is left, so that validating it holds nobody's grace up. */
inline find()
{
    slot = announced;
    asked = (slot != NONE);
    if
    :: asked -> done = answer_seq[t]
    :: !asked -> slot = root; done = prepared_seq[t]
    fi;
    reader_pin[2 * t] = slot;
    seq = memory[slot];
    assert(slot == NONE || seq != 0);
    if
    :: slot == NONE || seq == done -> slot = NONE; seq = 0
    :: else
    fi;
#ifdef SHARING
    /* The published root, when it is the one prepared, is the base: its list was copied when it was
     * validated. Nothing protects it once the epoch is left: the pin is the candidate's. */
    base_slot = NONE; base_seq = 0; base_section = NONE; base_section_seq = 0;
    if
    :: slot != NONE && asked && root != NONE && memory[root] == prepared_seq[t] ->
        base_slot = root;
        base_seq = memory[root];
        base_section = listed[root];
        base_section_seq = listed_seq[root]
    :: else
    fi;
#endif
    done = 0
}

/* Validates it, prepares what is private to the process and answers, when that was asked for. */
inline prepare()
{
    touch(slot, seq);
#ifdef SHARING
    if
    :: base_section != NONE && base_section == listed[slot] && base_section_seq == listed_seq[slot] ->
        /* not validated again: used through what the base made of it */
        touch_section(base_section, base_section_seq)
    :: else -> touch_section(listed[slot], listed_seq[slot])
    fi;
#ifdef READ_BASE
    if
    :: base_slot != NONE -> touch(base_slot, base_seq)
    :: else
    fi;
#endif
    base_slot = NONE; base_seq = 0; base_section = NONE; base_section_seq = 0;
#endif
    if
    :: asked && vetoes > 0 -> vetoes--; answer[t] = REJECTED; answer_seq[t] = seq
    :: true ->
        prepared_slot[t] = slot;
        prepared_seq[t] = seq;
        if
        :: asked -> answer[t] = READY; answer_seq[t] = seq
        :: !asked
        fi
    fi;
    slot = NONE;
    seq = 0;
    asked = false
}

/* Lock on the board, reset, lock on the arena, visible. */
inline reset()
{
    reader_epoch[2 * t] = IDLE;
    reader_epoch[2 * t + 1] = IDLE;
    reader_pin[2 * t] = NONE;
    reader_pin[2 * t + 1] = NONE;
    answer_seq[t] = 0;
    ready[t] = false
}

/* Housekeeping, and the start of its process: maps, claims a seat, then prepares whenever the bell
 * says that there may be something. COARSE makes start, turn and entering one step each; it is for
 * the runs in which what matters is that there are two seats. */
proctype housekeeping(byte t)
{
    byte mine, seen, slot, seq, done, value;
    bool asked;
#ifdef SHARING
    byte base_slot, base_seq, base_section, base_section_seq;
#endif

end_down:
    atomic { !alive[t] && !serving[t] -> alive[t] = true; joining[t] = true };
    {
#ifdef COARSE
        atomic { reset(); seated[t] = true; ready[t] = true; bell[t] = true; joining[t] = false };
end_waiting:
        do
        :: atomic {
                bell[t] ->
                bell[t] = false;
                find();
                if
                :: slot != NONE -> prepare()
                :: else -> asked = false
                fi
            }
        od
#else
        /* The settings are read before there is a seat, under the joining lock alone. */
        atomic { slot = root; seq = memory[slot] };
        atomic {
            if
            :: slot != NONE -> touch(slot, seq)
            :: else
            fi;
            slot = NONE;
            seq = 0;
            reset()
        };
        seated[t] = true;
        atomic { ready[t] = true; bell[t] = true };
        joining[t] = false;
end_waiting:
        do
        :: atomic { bell[t] -> bell[t] = false };
            enter(2 * t, mine);
            atomic { find(); leave(2 * t, mine) };
            /* Validating takes its time; anything may happen here. */
            atomic {
                if
                :: slot != NONE -> prepare()
                :: else -> asked = false
                fi
            }
        od
#endif
    } unless { !alive[t] };
    atomic { mine = 0; seen = 0; slot = NONE; seq = 0; done = 0; asked = false; value = 0; goto end_down }
}

#if LOCALS > 0
#include "local.pml"
#endif

/* ---- the control plane ---------------------------------------------------------------------- */

/* What a publication and a withdrawal end in. What `slot` holds can no longer be reached from the
 * first page: it waits until every reader has left the epochs in which it could be. Comes right after
 * the stores it belongs to; a crash between two of them is one that leaves the later in the buffer. */
inline quarantine(slot)
{
    if
    :: slot != NONE -> retired[slot] = now
    :: else
    fi;
    now++;
    buffer[CONTROL]!EPOCH(now)                      /* C2 */
}

inline settle()
{
    atomic {
#ifndef NO_C3
        control_fence();                            /* C3, pairs with R2 */
#endif
        buffer[CONTROL]!BELL(NONE)
    }
}

inline publish()
{
    atomic {
        candidate = 1;
        do
        :: candidate <= SLOTS && memory[candidate] != 0 -> candidate++
        :: else -> break
        od;
        if
        :: candidate > SLOTS -> candidate = NONE    /* full: refused, the old one keeps serving */
        :: else ->
            control_fence();
            last_seq++;
            memory[candidate] = last_seq;
#ifdef SHARING
            if
            :: root != NONE -> /* unchanged: listed again */
                listed[candidate] = listed[root];
                listed_seq[candidate] = listed_seq[root]
            :: true ->
                listed[candidate] = (section[1] == 0 -> 1 : 2);
                assert(section[listed[candidate]] == 0);
                section[listed[candidate]] = last_seq;
                listed_seq[candidate] = last_seq
            fi;
#endif
            buffer[CONTROL]!ANNOUNCED(candidate);
            buffer[CONTROL]!BELL(NONE)
        fi
    };
    if
    :: candidate == NONE
    :: candidate != NONE ->
        /* The answers: ready, lagging and dead go on; none of them is what safety rests on. */
        atomic {
            do
            :: t < TERNDS ->
                veto = veto || (seated[t] && answer_seq[t] == last_seq && answer[t] == REJECTED);
                t++
            :: t == TERNDS -> break
            od;
            t = 0;
            if
            :: veto ->
                veto = false;
                buffer[CONTROL]!ANNOUNCED(NONE);
                quarantine(candidate)
            :: else ->
                old = root;
                buffer[CONTROL]!ROOT(candidate);    /* C1: the swap */
                buffer[CONTROL]!ANNOUNCED(NONE);
                quarantine(old)
            fi;
            candidate = NONE;
            old = NONE
        };
        settle()
    fi
}

#ifdef NO_C4
#define past_grace(slot, reader) true
#else
#define past_grace(slot, reader) \
    (reader_epoch[reader] == IDLE || reader_epoch[reader] > retired[slot])
#endif

#define bit(slot) (1 << slot)

inline wait_for(reader)
{
    if
    :: !past_grace(1, reader) -> free = free & ~bit(1)
    :: else
    fi;
    if
    :: !past_grace(2, reader) -> free = free & ~bit(2)
    :: else
    fi
#if SLOTS > 2
    ;
    if
    :: !past_grace(3, reader) -> free = free & ~bit(3)
    :: else
    fi
#endif
}

#define quarantined(slot) ((retired[slot] != 0) * bit(slot))
#if SLOTS > 2
#define QUARANTINE (quarantined(1) + quarantined(2) + quarantined(3))
#else
#define QUARANTINE (quarantined(1) + quarantined(2))
#endif

#ifdef PINS_BACKWARDS
#define looked(t) (READERS - 1 - t)
#else
#define looked(t) t
#endif

/* One look at everybody; frees what no reader can reach any more. `free` starts as everything in
 * quarantine and only shrinks. */
inline reclaim()
{
    free = QUARANTINE;
#ifndef NO_JOINING
    do
    :: t < HOLDERS -> atomic { if :: joining[t] -> free = 0 :: else fi; t++ }
    :: t == HOLDERS -> break
    od;
    t = 0;
#endif
    do
    :: t < READERS && free != 0 ->                  /* C4 */
        atomic {
            if
            :: !seated[holder(t)]                   /* dead: ignored */
            :: seated[holder(t)] && !ready[holder(t)] -> free = 0
            :: seated[holder(t)] && ready[holder(t)] -> wait_for(t)
            fi;
            t++
        }
    :: t == READERS || free == 0 -> break
    od;
    t = 0;
#ifndef NO_C5
    do
    :: t < READERS && free != 0 ->                  /* C5 */
        atomic {
            if
            :: seated[holder(looked(t))] -> free = free & ~bit(reader_pin[looked(t)])
            :: else
            fi;
            t++
        }
    :: t == READERS || free == 0 -> break
    od;
    t = 0;
#endif
    atomic {
        control_fence(); /* stores stay in order: the slot is not overwritten before C1 is seen */
        t = 1;
        do
        :: t <= SLOTS ->
            if
            :: free & bit(t) ->
#ifdef FREE_LISTED
                if :: memory[t] != 0 -> section[listed[t]] = 0 :: else fi;
#endif
                memory[t] = 0;
                retired[t] = 0
            :: else
            fi;
            t++
        :: t > SLOTS -> break
        od;
#ifdef SHARING
        if :: !section_is_used(1) -> section[1] = 0; :: else fi;
        if :: !section_is_used(2) -> section[2] = 0; :: else fi;
#endif
        t = 0;
        free = 0
    }
}

proctype control()
{
    byte now, candidate, old, t, free, value;
    bool veto;
    byte retired[SLOTS + 1]; /* the epoch in which the slot was last reachable, 0: not in quarantine */

start:
    {
        /* Takes the arena over as it is: withdraws, then whatever the root does not reach waits one
         * grace like anything else. */
        atomic {
#ifndef NO_WITHDRAW
            buffer[CONTROL]!ANNOUNCED(NONE);
#endif
#ifdef EPOCH_AGAIN
            now = 1;
#else
            now = epoch;
#endif
            t = 1;
            do
            :: t <= SLOTS ->
                if
                :: t != root && memory[t] != 0 ->
#ifdef NO_RESTART_GRACE
                    memory[t] = 0
#else
                    retired[t] = now
#endif
                :: else
                fi;
                t++
            :: t > SLOTS -> break
            od;
            t = 0;
            quarantine(NONE)
        };
        settle();
end_idle:
        do
        :: last_seq < PUBLISHES -> publish()
        :: QUARANTINE != 0 -> reclaim()
        od
    } unless { !control_alive };
    atomic {
        now = 0; candidate = NONE; old = NONE; t = 0; free = 0; value = 0; veto = false;
        retired[1] = 0;
        retired[2] = 0;
#if SLOTS > 2
        retired[3] = 0;
#endif
        control_alive = true;
        goto start
    }
}

#include "fate.pml"

init
{
    atomic {
        run machine();
        run control();
#if KILLS + CRASHES > 0
        run fate();
#endif
#if TERNDS > 0
        run housekeeping(0);
        run loop(0);
#endif
#if TERNDS > 1
        run housekeeping(1);
        run loop(1);
#endif
#if LOCALS > 0
        run preparing();
        run context();
#endif
        skip
    }
}
