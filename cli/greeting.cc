#include "cli/greeting.h"

#include "core/sys/fd.h"
#include "core/transfer/stream_mark.h"

namespace flurry {

Result<Greeting> pass_over_greeting(int fd, TimePoint deadline) {
  Greeting greeting;
  // One by one: who reads on needs all that follows.
  for (char byte = 0;;) {
    ASSIGN_OR_RETURN(const size_t n, sys::read_some(fd, {&byte, 1}, deadline));
    if (n == 0) return greeting;
    greeting.text += byte;
    greeting.has_begun = greeting.text.ends_with(transfer::kStreamMark);
    if (greeting.has_begun) {
      greeting.text.resize(greeting.text.size() - transfer::kStreamMark.size());
      return greeting;
    }
    if (greeting.text.size() > transfer::kGreetingMax + transfer::kStreamMark.size())
      return Error{ErrorKind::kFailed, "the login shell prints too much before it runs a command"};
  }
}

}  // namespace flurry
