/* A local reader (clients/c/local): one thread that prepares and offers, one that decides. Included by
 * publish.pml, whose memory, buffers and ways of reading it uses. */

bool locked;                /* tern_local.lock */
byte offered_slot, offered_seq;

inline lock()
{
    atomic { !locked -> locked = true }
}

/* A mutex's release is seen with everything before it. */
inline unlock(who)
{
    atomic {
        do
        :: nempty(buffer[who]) -> reader_drain(who)
        :: empty(buffer[who]) -> break
        od;
        locked = false
    }
}

/* tern_local_prepare, and the start of its process. It looks for something new whenever it likes. */
proctype preparing()
{
    byte mine, seen, slot, seq, value;

end_down:
    atomic { !alive[LOCAL] && !serving[LOCAL] -> alive[LOCAL] = true; joining[LOCAL] = true };
    {
        atomic { /* a page of the dead, reset; the lock on the arena; visible */
            reader_epoch[PREPARING] = IDLE;
            reader_pin[PREPARING] = NONE;
            reader_pin[PREPARED_] = NONE;
            reader_pin[CONTEXT] = NONE;
            ready[LOCAL] = false;
            seated[LOCAL] = true
        };
        ready[LOCAL] = true;
        joining[LOCAL] = false;
end_waiting:
        do
        :: enter(PREPARING, mine);
            atomic {
                slot = root;                       /* R4 */
                if
                :: slot != NONE ->
                    seq = memory[slot];
                    assert(seq != 0 && published[seq]);
                    if
                    :: seq == offered_seq -> slot = NONE; seq = 0
                    :: else -> buffer[PREPARING]!PIN(slot)
                    fi
                :: else
                fi;
                leave(PREPARING, mine)
            };
            if
            :: slot == NONE
            :: slot != NONE ->
                atomic { touch(slot, seq) };       /* validating takes its time */
#ifdef OFFER_UNLOCKED
                buffer[PREPARING]!PREPARED(slot);
                lock();
#else
                lock();
                buffer[PREPARING]!PREPARED(slot);
#endif
                atomic { touch(slot, seq); offered_slot = slot; offered_seq = seq };
                unlock(PREPARING);
                atomic { buffer[PREPARING]!PIN(NONE); slot = NONE; seq = 0 }
            fi
        od
    } unless { !alive[LOCAL] };
    atomic { mine = 0; seen = 0; slot = NONE; seq = 0; value = 0; goto end_down }
}

/* A thread that decides: adopts what is offered, whether or not it still is the root; rests at will.
 * It enters no epoch: its pin is copied from one that stands. */
proctype context()
{
    byte serving_slot, serving_seq, value;

end_down:
    atomic { alive[LOCAL] && ready[LOCAL] && !serving[LOCAL] -> serving[LOCAL] = true };
    {
end_idle:
        do
        :: atomic { serving_slot != NONE -> serve() }
        :: atomic { offered_seq != serving_seq && offered_seq != 0 && !locked -> locked = true };
            atomic {
                buffer[CONTEXT]!PIN(offered_slot);
                serving_slot = offered_slot;
                serving_seq = offered_seq;
                serve()
            };
            unlock(CONTEXT)
        :: atomic { serving_slot != NONE -> serving_slot = NONE; serving_seq = 0; buffer[CONTEXT]!PIN(NONE) }
        od
    } unless { !alive[LOCAL] };
    atomic {
        serving_slot = 0; serving_seq = 0; value = 0;
        serving[LOCAL] = false;
        goto end_down
    }
}
