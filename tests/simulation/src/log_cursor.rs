use std::collections::VecDeque;

/// Which lines of a rank's log are on their way: counted from 0, sent in batches, sent again on a new connection until the
/// coordinator has them. The lines themselves are kept by whoever owns this.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogCursor {
    written: u64,
    /// Handed out since the last rewind.
    sent: Position,
    /// Up to here the coordinator has them.
    acknowledged: Position,
    /// Ends of batches that are on their way.
    in_flight: VecDeque<Position>,
}

/// A place in a log, before a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// The line's number.
    pub(crate) line: u64,
}

impl LogCursor {
    /// There is one more line.
    pub(crate) fn written(&mut self) {
        self.written += 1;
    }

    /// Lines that have not been handed out on this connection.
    pub(crate) fn left(&self) -> u64 {
        self.written - self.sent.line
    }

    /// The next line to hand out.
    pub(crate) fn next(&self) -> Position {
        self.sent
    }

    /// So many lines are handed out: they are on their way.
    pub(crate) fn hand_out(&mut self, lines: u64) {
        self.sent.line += lines;
        self.in_flight.push_back(self.sent);
    }

    /// How much is on its way.
    pub(crate) fn batches_on_their_way(&self) -> usize {
        self.in_flight.len()
    }

    /// The coordinator has so many lines.
    pub(crate) fn acknowledge(&mut self, lines: u64) {
        while let Some(&end) = self.in_flight.front()
            && end.line <= lines
        {
            self.acknowledged = end;
            self.in_flight.pop_front();
        }
    }

    /// A new connection: what was on its way is sent again, from here on.
    pub(crate) fn rewind(&mut self) -> Position {
        self.sent = self.acknowledged;
        self.in_flight.clear();
        self.sent
    }

    /// Whether the coordinator has every line.
    pub(crate) fn is_delivered(&self) -> bool {
        self.acknowledged.line == self.written
    }
}
