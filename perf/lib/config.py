"""Configurations of the experiments: the same fields and tables, as many rules as asked for."""

import ipaddress
import random

from .data import SEED

FIELDS = "ip:ip,host:host,path:string,user:u64"  # for tern-load --fields, in the order below


def _quoted(expression):
    return "'" + expression.replace("'", "''") + "'"


class Rules:
    """`count` rules over real literals. Few of them match any one request, so that the deciding rule is
    spread and many requests reach the default, as in practice."""

    def __init__(self, data, count, seed=0):
        self.chance = random.Random(SEED + 100 + seed)
        self.data = data
        self.asns = sorted({number for _, _, number in data.asn_ranges()})
        self.lines = []
        kinds = [(15, self.networks), (15, self.hosts), (20, self.path_start), (10, self.path_end),
                 (10, self.users), (15, self.network_of), (10, self.young_user), (5, self.listed)]
        weights = [weight for weight, _ in kinds]
        for i in range(count):
            make = self.chance.choices(kinds, weights)[0][1]
            then = self.chance.choices(["deny", "challenge", "allow", None], [5, 3, 1, 2])[0]
            effect = f"then: {then}" if then else f"add: {self.chance.randrange(1, 4)}"
            self.lines.append(f"  - {{ id: r{i + 1}, when: {_quoted(make())}, {effect} }}")

    def networks(self):
        bits = [self.chance.choice([16, 20, 24, 24, 28, 32]) for _ in range(self.chance.randrange(1, 4))]
        bases = [self.chance.choice(self.data.bad_addresses()) for _ in bits]
        nets = {str(ipaddress.ip_network(f"{base}/{length}", strict=False))
                for base, length in zip(bases, bits)}
        return f"ip in {{{', '.join(sorted(nets))}}}"

    def hosts(self):
        names = {self.chance.choice(self.data.bad_hosts()) for _ in range(self.chance.randrange(1, 4))}
        return "host in {" + ", ".join(f'"{name}"' for name in sorted(names)) + "}"

    def path_start(self):
        path = self.chance.choice(self.data.paths())
        return f'path starts_with "{path[: self.chance.randrange(8, 40)]}"'

    def path_end(self):
        path = self.chance.choice(self.data.paths())
        return f'path ends_with "{path[-self.chance.randrange(8, 20):]}"'

    def users(self):
        first = self.chance.randrange(1, 2_000_000)
        return f"user >= {first} and user < {first + self.chance.randrange(1, 500)}"

    def network_of(self):
        path = self.chance.choice(self.data.paths())
        return f'asn.number == {self.chance.choice(self.asns)} and path starts_with "{path[:12]}"'

    def young_user(self):
        path = self.chance.choice(self.data.paths())
        age = self.chance.randrange(1, 60)
        return f'users.age_days < {age} and path starts_with "{path[:10]}"'

    def listed(self):
        path = self.chance.choice(self.data.paths())
        return f'ip in $bad_nets and path starts_with "{path[:8]}"'


def write(path, listen, rules, users="users.csv", asn="asn.csv", tokens=None, first=(), limits=None):
    """Writes the configuration. `rules` are lines; `first` come before them; `tokens` adds an exact set of
    strings."""
    lines = [
        "tern: 1",
        "instance: perf",
        "listen: [ " + ", ".join(f'"{address}"' for address in listen) + " ]",
        "workers: 1",
        "arena: 8GiB",
        *([f"limits: {limits}"] if limits else []),
        "fields:",
        "  ip: ip",
        "  host: host",
        "  path: { type: string, max: 2KiB }",
        "  user: u64",
    ]
    if tokens:
        lines.append("  token: string")
    lines += [
        "tables:",
        "  bad_nets: { type: prefix_set, source: bad-nets.txt }",
        f"  asn: {{ type: prefix_map, by: ip, source: {asn}, "
        "columns: { number: { type: u32, from: asn } } }",
        "  bad_hosts: { type: domain_set, source: bad-hosts.txt }",
        f"  users: {{ type: exact_map, by: user, key: id, source: {users}, "
        "columns: { trust: f32, age_days: u32 } }",
    ]
    if tokens:
        lines.append(f"  tokens: {{ type: exact_set, of: string, source: {tokens} }}")
    lines += ["rules:", *first,
              "  - { id: bad-net, when: 'ip in $bad_nets and users.trust < 0.1', then: deny }",
              "  - { id: bad-host, when: 'host in $bad_hosts', then: challenge }"]
    if tokens:
        lines.append("  - { id: token, when: 'token in $tokens', then: allow }")
    lines += rules
    lines += ["thresholds: [ { at: 6, then: deny }, { at: 3, then: challenge } ]", "default: allow", ""]
    path.write_text("\n".join(lines))
