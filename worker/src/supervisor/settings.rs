use std::fs;
use std::net::{ToSocketAddrs, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use duty::Limits;
use duty::protocol::Device;
use proto::Token;
use types::WorkerId;

use crate::cli::Options;

/// Options with everything filled in that a user may leave out.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) name: WorkerId,
    pub(crate) device: Device,
    pub(crate) device_name: String,
    pub(crate) host: String,
    pub(crate) coordinator: String,
    pub(crate) token: Option<Token>,
    pub(crate) work_dir: PathBuf,
    /// Bytes of the cache; none: by the room that there is.
    pub(crate) cache_limit: Option<u64>,
    /// Given by the user; else found out towards the coordinator.
    pub(crate) address: Option<String>,
    pub(crate) limits: Limits,
    /// Until the coordinator says how long the lease is.
    pub(crate) lost_after: Duration,
    /// How long a collective may wait for its peers.
    pub(crate) collective_timeout: Duration,
}

impl Settings {
    pub(crate) fn from_options(options: &Options, device_name: String) -> Result<Self> {
        let host = host_name();
        let device = options.device();
        let name = match &options.name {
            Some(name) => name.clone(),
            None => default_name(&host, device)?,
        };
        let work_dir = match &options.work_dir {
            Some(folder) => folder.clone(),
            None => default_work_dir(&name)?,
        };
        Ok(Self {
            name,
            device,
            device_name,
            host,
            coordinator: options.coordinator.clone(),
            token: token(options)?,
            work_dir,
            cache_limit: options.cache_limit,
            address: options.address.clone(),
            limits: Limits {
                hang: options.hang_limits(),
                ..Limits::default()
            },
            lost_after: Duration::from_secs(120),
            collective_timeout: Duration::from_secs(300),
        })
    }

    /// The address at which other hosts reach this one: the one that the kernel would use towards the coordinator.
    pub(crate) fn gang_address(&self) -> String {
        self.address
            .clone()
            .or_else(|| address_towards(&self.coordinator))
            .unwrap_or_else(|| "127.0.0.1".to_owned())
    }
}

fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| "host".to_owned())
}

/// The host's name may hold characters that a worker's may not.
fn default_name(host: &str, device: Device) -> Result<WorkerId> {
    let host: String = host
        .chars()
        .map(|one| {
            if one.is_ascii_alphanumeric() {
                one
            } else {
                '-'
            }
        })
        .take(150)
        .collect();
    let name = match device {
        Device::Cpu => format!("{host}-cpu"),
        Device::Gpu(index) => format!("{host}-gpu{index}"),
    };
    WorkerId::new(name).context("this host's name makes no worker name; give one with --name")
}

fn default_work_dir(name: &WorkerId) -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .context("there is no HOME to keep files in; name a folder with --work-dir")?;
    Ok(cache.join("tutti/workers").join(name.as_str()))
}

fn token(options: &Options) -> Result<Option<Token>> {
    let token = match &options.token_file {
        Some(file) => fs::read_to_string(file)
            .with_context(|| format!("cannot read the token file {}", file.display()))?,
        None => std::env::var("TUTTI_TOKEN").unwrap_or_default(),
    };
    if token.trim().is_empty() {
        return Ok(None);
    }
    Ok(Some(
        Token::new(&token).context("the token of this worker")?,
    ))
}

/// Sends nothing: connecting a datagram socket only looks up the route.
fn address_towards(url: &str) -> Option<String> {
    let authority = url.split("://").last()?.split('/').next()?;
    let target = authority.to_socket_addrs().ok().or_else(|| {
        let host = authority.trim_start_matches('[').trim_end_matches(']');
        (host, 7070).to_socket_addrs().ok()
    })?;
    target
        .filter_map(|target| {
            let any = if target.is_ipv4() {
                "0.0.0.0:0"
            } else {
                "[::]:0"
            };
            let socket = UdpSocket::bind(any).ok()?;
            socket.connect(target).ok()?;
            Some(socket.local_addr().ok()?.ip().to_string())
        })
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strange_host_name_still_makes_a_worker_name() {
        let name = default_name("Möbius_1.example.org", Device::Gpu(3)).unwrap();
        assert_eq!(name.as_str(), "M-bius-1-example-org-gpu3");
    }

    #[test]
    fn the_way_to_the_coordinator_decides_the_address() {
        assert_eq!(
            address_towards("http://127.0.0.1:7070").unwrap(),
            "127.0.0.1"
        );
        assert_eq!(address_towards("http://127.0.0.1").unwrap(), "127.0.0.1");
        assert_eq!(address_towards("http://no such host:1"), None);
    }
}
