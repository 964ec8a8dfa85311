use crate::fault::Fault;
use crate::sim::{Event, Sim, Wish};

impl Sim {
    pub(crate) fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::CoordinatorDies { down, machine } => self.office_dies(down, machine),
            Fault::CoordinatorDiesAtWrite {
                nth,
                written,
                down,
                machine,
            } => self.office.doom(nth, written, down, machine),
            Fault::CoordinatorStops { down } => self.office_stops(down),
            Fault::CoordinatorPauses { pause } => self.office_pauses(pause),
            Fault::WorkerDies { worker, down } => self.station_dies(worker, down),
            Fault::WorkerPauses {
                worker,
                pause,
                with_ranks,
            } => self.station_pauses(worker, pause, with_ranks),
            Fault::WorkerLeaves { worker, down } => self.station_leaves(worker, down),
            Fault::Drain { worker, down } => {
                self.stations[worker].comes_back_after = down;
                let name = self.stations[worker].name.clone();
                self.user(Wish::Drain(name));
            }
            Fault::RankKilled { worker } => self.kill_some_rank(worker),
            Fault::RankHangs { worker, pause } => self.hang_some_rank(worker, pause),
            Fault::RankFails { worker } => self.fail_some_rank(worker),
            Fault::Partition { worker, pause } => {
                let until = self.now + pause;
                let all = 0..self.stations.len();
                for station in all.filter(|station| worker.is_none_or(|worker| worker == *station))
                {
                    self.part(station, until);
                }
            }
            Fault::Cut { worker, noticed } => self.cut(worker, noticed),
            Fault::Slow { delay, pause } => self.slow_down(delay, self.now + pause),
            Fault::Lossy { percent, pause } => {
                self.net.lossy = percent;
                self.after(pause, Event::LossEnds);
            }
            Fault::DiskFull { pause } => {
                self.office.disk.set_full(true);
                self.after(pause, Event::RoomAgain);
            }
        }
    }
}
