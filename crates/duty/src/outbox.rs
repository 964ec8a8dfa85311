use std::collections::{BTreeMap, VecDeque};

use types::{Bug, Fence, Rank, SlotKind, planted};

use crate::assignment::Report;

/// A report on its way: sent again after each reconnection until the coordinator has acknowledged it.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbered {
    /// Grows by one within a worker's life.
    pub sequence: u64,
    /// The attempt that it is about.
    pub fence: Fence,
    /// Which rank of it.
    pub rank: Rank,
    /// Which slot that rank takes.
    pub slot: SlotKind,
    /// What there is to say.
    pub report: Report,
}

/// Reports that the coordinator has not acknowledged, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    last_sequence: u64,
    /// The last one that went out on this connection.
    sent: u64,
    waiting: VecDeque<Numbered>,
    metrics_waiting: usize,
    metrics_dropped: u64,
}

/// Hours of training while the coordinator is away. Beyond that the oldest curve points go; nothing else is ever dropped.
const MOST_METRICS: usize = 200_000;
/// Reports on their way at most.
const WINDOW: u64 = 256;

impl Outbox {
    /// Takes a report and gives it its number.
    pub(crate) fn push(&mut self, fence: Fence, rank: Rank, slot: SlotKind, report: Report) {
        if matches!(report, Report::Metrics(_)) {
            if self.metrics_waiting >= MOST_METRICS {
                self.drop_oldest_metrics();
            }
            self.metrics_waiting += 1;
        }
        self.last_sequence += 1;
        self.waiting.push_back(Numbered {
            sequence: self.last_sequence,
            fence,
            rank,
            slot,
            report,
        });
    }

    /// The coordinator has everything up to and including this number.
    pub(crate) fn acknowledge(&mut self, up_to: u64) {
        while self
            .waiting
            .front()
            .is_some_and(|first| first.sequence <= up_to)
        {
            if let Some(first) = self.waiting.pop_front()
                && matches!(first.report, Report::Metrics(_))
            {
                self.metrics_waiting -= 1;
            }
        }
    }

    /// Nobody wants to hear any of it. Numbers go on.
    pub(crate) fn forget(&mut self) {
        self.waiting.clear();
        self.metrics_waiting = 0;
    }

    /// A new connection: what was not acknowledged is sent again.
    pub(crate) fn rewind(&mut self) {
        self.sent = 0;
        if planted(Bug::SequencesReset) {
            self.last_sequence = 0;
        }
    }

    /// The next report to send, as long as not too many are on their way.
    pub(crate) fn next_to_send(&mut self) -> Option<Numbered> {
        let first = self.waiting.front()?.sequence;
        let next = self.sent.max(first - 1) + 1;
        if next >= first + WINDOW {
            return None;
        }
        // numbers have gaps where points were dropped
        let index = self
            .waiting
            .partition_point(|numbered| numbered.sequence < next);
        let numbered = self.waiting.get(index)?.clone();
        self.sent = numbered.sequence;
        Some(numbered)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Attempts whose end the coordinator does not know yet.
    pub(crate) fn unreported_ends(&self) -> BTreeMap<Fence, (Rank, SlotKind)> {
        self.waiting
            .iter()
            .filter(|numbered| numbered.report.is_end())
            .map(|numbered| (numbered.fence, (numbered.rank, numbered.slot)))
            .collect()
    }

    fn drop_oldest_metrics(&mut self) {
        let oldest = self
            .waiting
            .iter()
            .position(|numbered| matches!(numbered.report, Report::Metrics(_)));
        if let Some(index) = oldest {
            self.waiting.remove(index);
            self.metrics_waiting -= 1;
            self.metrics_dropped += 1;
            if self.metrics_dropped.is_power_of_two() {
                tracing::warn!(
                    "the coordinator has been away so long that {} metric points were dropped",
                    self.metrics_dropped
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use types::Step;

    use super::*;

    fn sequences(outbox: &mut Outbox) -> Vec<u64> {
        outbox.rewind();
        std::iter::from_fn(|| outbox.next_to_send().map(|one| one.sequence)).collect()
    }

    #[test]
    fn what_is_not_acknowledged_stays_in_order() {
        let mut outbox = Outbox::default();
        for fence in 1..=3 {
            outbox.push(Fence(fence), Rank(0), SlotKind::Device, Report::Started);
        }
        outbox.push(Fence(2), Rank(1), SlotKind::Host, Report::Stopped);
        assert_eq!(sequences(&mut outbox), [1, 2, 3, 4]);
        outbox.acknowledge(2);
        outbox.acknowledge(1);
        assert_eq!(sequences(&mut outbox), [3, 4]);
        assert_eq!(
            outbox.unreported_ends(),
            BTreeMap::from([(Fence(2), (Rank(1), SlotKind::Host))])
        );
        outbox.acknowledge(4);
        assert!(outbox.is_empty());
    }

    #[test]
    fn only_curve_points_are_ever_dropped() {
        let mut outbox = Outbox::default();
        outbox.push(Fence(1), Rank(0), SlotKind::Device, Report::Started);
        for step in 0..=MOST_METRICS as u64 {
            let point = types::MetricPoint {
                step: Step(step),
                values: BTreeMap::new(),
            };
            outbox.push(Fence(1), Rank(0), SlotKind::Device, Report::Metrics(point));
        }
        assert_eq!(outbox.waiting.len(), MOST_METRICS + 1);
        let on_their_way = sequences(&mut outbox);
        assert_eq!(on_their_way[..2], [1, 3]);
        // the window is counted in numbers, and number 2 was dropped
        assert_eq!(on_their_way.len(), 255);
        outbox.acknowledge(3);
        assert_eq!(outbox.next_to_send().unwrap().sequence, 257);
    }
}
