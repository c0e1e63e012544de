"""Who can connect to whom, by the security rules of a template, those of Azure behind them, and addresses."""

import ipaddress

EVERYWHERE = {"protocol": "*", "sourceAddressPrefix": "*", "destinationAddressPrefix": "*", "destinationPortRange": "*"}
WITHIN = {"sourceAddressPrefix": "VirtualNetwork", "destinationAddressPrefix": "VirtualNetwork"}
# What every group has besides.
DEFAULTS = [
    EVERYWHERE | WITHIN | {"direction": "Inbound", "priority": 65000, "access": "Allow"},
    EVERYWHERE | {"direction": "Inbound", "priority": 65500, "access": "Deny"},
    EVERYWHERE | WITHIN | {"direction": "Outbound", "priority": 65000, "access": "Allow"},
    EVERYWHERE | {"destinationAddressPrefix": "Internet", "direction": "Outbound", "priority": 65001, "access": "Allow"},
    EVERYWHERE | {"direction": "Outbound", "priority": 65500, "access": "Deny"},
]
# Services of Azure's own, which pass every rule that does not name them.
PLATFORM = {"168.63.129.16": "AzurePlatformDNS", "169.254.169.254": "AzurePlatformIMDS"}


class Network:
    """The subnets of a template with their rules."""

    def __init__(self, template):
        by_symbol = {resource.symbol: resource.body["properties"] for resource in template.resources}
        (self.range,) = by_symbol["vnet"]["addressSpace"]["addressPrefixes"]
        self.subnets = []
        for subnet in by_symbol["vnet"]["subnets"]:
            rules, _, _ = subnet["properties"]["networkSecurityGroup"]["id"].of.partition(".")
            self.subnets.append((ipaddress.ip_network(subnet["properties"]["addressPrefix"]), by_symbol[rules]["securityRules"]))

    def lets(self, source, destination, port):
        """Whether TCP gets through: out of the source's subnet and into the destination's."""
        return self._one("Outbound", source, source, destination, port) and self._one("Inbound", destination, source, destination, port)

    def _one(self, direction, at, source, destination, port):
        rules = next((rules for subnet, rules in self.subnets if ipaddress.ip_address(at) in subnet), None)
        if rules is None:
            return True
        rules = [rule["properties"] for rule in rules] + DEFAULTS
        for rule in sorted(rules, key=lambda rule: rule["priority"]):
            if rule["direction"] == direction and self._applies(rule, source, destination, port):
                return rule["access"] == "Allow"
        return False

    def _applies(self, rule, source, destination, port):
        ports = rule["destinationPortRange"]
        return (
            rule["protocol"] in ("*", "Tcp")
            and rule.get("sourcePortRange", "*") == "*"
            and ports in ("*", str(port))
            and any(self._is(source, prefix) for prefix in prefixes(rule, "source"))
            and any(self._is(destination, prefix) for prefix in prefixes(rule, "destination"))
        )

    def _is(self, address, prefix):
        within = ipaddress.ip_address(address) in ipaddress.ip_network(self.range)
        named = {"*": address not in PLATFORM, "VirtualNetwork": within, "Internet": not within}
        if prefix in named:
            return named[prefix]
        return prefix == PLATFORM.get(address) or prefix[0].isdigit() and ipaddress.ip_address(address) in ipaddress.ip_network(prefix)


def prefixes(rule, side):
    return rule.get(f"{side}AddressPrefixes") or [rule[f"{side}AddressPrefix"]]
