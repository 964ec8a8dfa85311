use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What a link does to those who talk over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Passes everything on at once.
    Fair,
    /// Passes everything on, so much later.
    Slow(Duration),
    /// Passes nothing on, and loses nothing: a cable that is pulled and put back soon.
    Stalled,
    /// What the far end says arrives nowhere; what the near end says does.
    OneWay,
    /// The far end is gone and the near end is not told: what it says is lost.
    HalfOpen,
    /// Connections break at once, new ones are refused.
    Cut,
}

/// A TCP connection's way over loopback, which can be made bad and good again. The near end dials in here; the far end is asked
/// for at each connection. Closed when dropped.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    sky: Arc<Sky>,
}

#[derive(Debug)]
struct Sky {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    weather: Weather,
    closed: bool,
    /// Both ends of every connection, also of some that are over.
    near: Vec<TcpStream>,
    far: Vec<TcpStream>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToFar,
    ToNear,
}

impl Link {
    /// Listens on a port of its own; `far` says where connections go at the time.
    pub fn open(far: impl Fn() -> Option<SocketAddr> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let sky = Arc::new(Sky {
            state: Mutex::new(State {
                weather: Weather::Fair,
                closed: false,
                near: Vec::new(),
                far: Vec::new(),
            }),
            changed: Condvar::new(),
        });
        let above = Arc::clone(&sky);
        thread::spawn(move || {
            for near in listener.incoming() {
                if above.state().closed {
                    return;
                }
                if let Ok(near) = near {
                    above.connect(near, &far);
                }
            }
        });
        Self { address, sky }
    }

    /// Where the near end dials in.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes the weather, for connections that are there and for new ones.
    pub fn set(&self, weather: Weather) {
        let mut state = self.sky.state();
        let mended = state.weather == Weather::HalfOpen && weather != Weather::HalfOpen;
        state.weather = weather;
        if matches!(weather, Weather::Cut | Weather::HalfOpen) {
            hang_up(&mut state.far);
        }
        if weather == Weather::Cut || mended {
            hang_up(&mut state.near);
        }
        drop(state);
        self.sky.changed.notify_all();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.sky.state().closed = true;
        self.set(Weather::Cut);
        // wakes the listener, which then goes
        let _ = TcpStream::connect(self.address);
    }
}

fn hang_up(ends: &mut Vec<TcpStream>) {
    for end in ends.drain(..) {
        // it may be over already
        let _ = end.shutdown(Shutdown::Both);
    }
}

impl Sky {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(self: &Arc<Self>, near: TcpStream, far: &impl Fn() -> Option<SocketAddr>) {
        let mut state = self.state();
        match state.weather {
            Weather::Cut => return,
            Weather::HalfOpen => {
                // heard by nobody, until the weather changes
                state.near.push(near);
                return;
            }
            Weather::Fair | Weather::Slow(_) | Weather::Stalled | Weather::OneWay => {}
        }
        let Some(far) = far().and_then(|address| TcpStream::connect(address).ok()) else {
            return;
        };
        let both = [&near, &far].map(|end| {
            // a delay that is not the link's own would be blamed on it
            let _ = end.set_nodelay(true);
            end.try_clone().and_then(|end| Ok((end.try_clone()?, end)))
        });
        let [Ok((near_in, near_out)), Ok((far_in, far_out))] = both else {
            return;
        };
        state.near.push(near);
        state.far.push(far);
        drop(state);
        for (direction, from, to) in [
            (Direction::ToFar, near_in, far_out),
            (Direction::ToNear, far_in, near_out),
        ] {
            let sky = Arc::clone(self);
            thread::spawn(move || sky.pass_on(direction, from, to));
        }
    }

    /// Carries bytes one way until either end is gone.
    fn pass_on(&self, direction: Direction, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from.read(&mut buffer).unwrap_or(0);
            if read == 0 {
                break;
            }
            if let Weather::Slow(delay) = self.state().weather {
                thread::sleep(delay);
            }
            self.wait_until(|weather| match weather {
                Weather::Stalled => false,
                Weather::OneWay => direction == Direction::ToFar,
                Weather::Fair | Weather::Slow(_) | Weather::HalfOpen | Weather::Cut => true,
            });
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        // the near end learns nothing while the link is half open
        self.wait_until(|weather| weather != Weather::HalfOpen);
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    fn wait_until(&self, passes: impl Fn(Weather) -> bool) {
        let state = self.state();
        drop(
            self.changed
                .wait_while(state, |state| !passes(state.weather)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A far end that sends everything back.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for end in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut back = end.try_clone().unwrap();
                    let _ = std::io::copy(&mut &end, &mut back);
                });
            }
        });
        address
    }

    fn dial(link: &Link) -> TcpStream {
        let end = TcpStream::connect(link.address).unwrap();
        end.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        end
    }

    fn says(end: &mut TcpStream, word: &[u8]) -> std::io::Result<Vec<u8>> {
        end.write_all(word)?;
        let mut heard = vec![0; word.len()];
        end.read_exact(&mut heard)?;
        Ok(heard)
    }

    #[test]
    fn a_link_can_be_made_bad_and_good_again() {
        let far = echo();
        let link = Link::open(move || Some(far));
        let mut end = dial(&link);
        assert_eq!(says(&mut end, b"fair").unwrap(), b"fair");

        link.set(Weather::Stalled);
        end.write_all(b"late").unwrap();
        end.set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let mut heard = [0; 4];
        assert!(end.read_exact(&mut heard).is_err(), "nothing passes");
        end.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        link.set(Weather::Fair);
        end.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"late", "and nothing was lost");

        link.set(Weather::HalfOpen);
        end.set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let silent = says(&mut end, b"lost").unwrap_err();
        assert!(
            matches!(
                silent.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            ),
            "the near end is told nothing: {silent}"
        );
        link.set(Weather::Fair);
        end.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(says(&mut end, b"gone").is_err(), "until it is mended");

        let mut end = dial(&link);
        assert_eq!(says(&mut end, b"fair").unwrap(), b"fair");
        link.set(Weather::Cut);
        assert!(says(&mut end, b"gone").is_err());
        assert!(says(&mut dial(&link), b"gone").is_err());
        link.set(Weather::Slow(Duration::from_millis(1)));
        assert_eq!(says(&mut dial(&link), b"slow").unwrap(), b"slow");
    }
}
