#pragma once

#include <cstdint>

namespace flurry::sim {

// Seeds that once broke a promise, and what they found. A change of the simulator gives them another story.
inline constexpr uint64_t kFoundSeeds[] = {
    50,    // an agent killed while it went back, not started again: the deadman waited for the rollback's
           // deadline
    789,   // rolled-back was told while a switch that could not be waited for still ran
    1358,  // a Begin that was refused and came once more began after its controller had told that it failed
    3423,  // goal boot on a host without any system: failed-unchanged was told, and the new one was the boot
           // default
    6757,  // a recorded system that ends the agent whenever it is activated was activated for ever
    11,    // the lists of a broken-off way back were cleared with the restarts and reloads of what ran
    17,   // a reload failed on the way back, the switch was killed then, and the next found nothing to reload
    52,   // the agent died between a failed reload on the way back and its look at it
    121,  // a failed reload on the way back whose lines were lost
    740,  // somebody's boot default survived a way back from a confirmed release
    7449,     // the second way back could not be started, and hid that the activation of the first had failed
    11467,    // a way back that did nothing, on a host that mounts its /etc
    16846,    // a way back of which a full disk let the journal know nothing: failed-unchanged was told
    33621,    // the activation of a way back failed without a word
    1001266,  // a test whose end was refused and yet written was undone behind that success
    1010645,  // a boot installation told as failed was finished by the next process
    1011988,  // the boot default became a system that only ran, though no installation had begun
    90024562,  // rollback-failed was told, and the next process committed it
    50006400,  // a boot installation that was slow to start began after it had been stopped
};

}  // namespace flurry::sim
