// Flavour azure-single: one confidential VM. The enclave starts the host from an unmeasured partition of the same disk and keeps it in a
// jail; the kernel alone is between them, and claims say `isolation: process`.
// docs/azure.md has the commands, and says what of this was not tried.

@description('Region of everything.')
param location string = resourceGroup().location

@description('Names begin with this.')
@minLength(1)
@maxLength(32)
param prefix string = 'cmcp-single'

@description('The image version that the VM boots, host and documents in it: the output `image` of image.bicep, flavour azure-single.')
@minLength(1)
param image string

@description('Which of two places the VM has. A new image goes into the other one, and both run until agents have changed.')
@allowed([
  'a'
  'b'
])
param slot string = 'a'

@description('Size of the VM. as/ads: AMD SEV-SNP; es/eds: Intel TDX. Microsoft has announced the end of the Intel v5 sizes.')
@allowed([
  'Standard_DC2as_v5'
  'Standard_DC4as_v5'
  'Standard_DC8as_v5'
  'Standard_DC2ads_v5'
  'Standard_DC4ads_v5'
  'Standard_DC8ads_v5'
  'Standard_DC2es_v5'
  'Standard_DC4es_v5'
  'Standard_DC8es_v5'
  'Standard_DC2eds_v5'
  'Standard_DC4eds_v5'
  'Standard_DC8eds_v5'
  'Standard_DC2as_v6'
  'Standard_DC4as_v6'
  'Standard_DC8as_v6'
  'Standard_DC2ads_v6'
  'Standard_DC4ads_v6'
  'Standard_DC8ads_v6'
  'Standard_DC2es_v6'
  'Standard_DC4es_v6'
  'Standard_DC8es_v6'
  'Standard_DC2eds_v6'
  'Standard_DC4eds_v6'
  'Standard_DC8eds_v6'
])
param size string = 'Standard_DC2as_v5'

@description('State of the virtual TPM: kept, encrypted, with the VM (VMGuestStateOnly), or new at each start (NonPersistedTPM, which fewer regions and sizes have). The enclave keeps nothing in it either way.')
@allowed([
  'VMGuestStateOnly'
  'NonPersistedTPM'
])
param tpmState string = 'VMGuestStateOnly'

@description('Storage of the boot diagnostics, which show what the enclave prints when it starts. They may turn on the console, which evidence then shows and reference values refuse unless they allow it (platforms.azure.allow_console).')
param bootDiagnostics bool = false

@description('Addresses of the network, for this VM alone: at least a /27.')
param network string = '10.81.0.0/24'

@description('Who may connect to the gateway, as CIDR ranges.')
@minLength(1)
param agents array = [
  network
]

@description('Port of the gateway: that of listen_addr in cmcp-config.yaml.')
@minValue(1024)
@maxValue(65535)
param agentPort int = 8443

@description('How the host in the VM reaches the internet, where it fetches collateral and finds tool servers. outbound: through a NAT gateway. public: an address of its own, at which agents reach it too. none: by means of your own, such as a peered network.')
@allowed([
  'outbound'
  'public'
  'none'
])
param internet string = 'outbound'

var subnet = cidrSubnet(network, 27, 0)
// The first four addresses of a subnet are Azure's.
var slotAddresses = {
  a: cidrHost(subnet, 3)
  b: cidrHost(subnet, 4)
}

resource rules 'Microsoft.Network/networkSecurityGroups@2025-07-01' = {
  name: prefix
  location: location
  properties: {
    securityRules: [
      {
        name: 'agents'
        properties: {
          description: 'Agents, in TLS that ends in the enclave'
          priority: 100
          direction: 'Inbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefixes: agents
          sourcePortRange: '*'
          destinationAddressPrefixes: [
            slotAddresses.a
            slotAddresses.b
          ]
          destinationPortRange: string(agentPort)
        }
      }
      {
        name: 'nobody-else'
        properties: {
          description: 'Before the rules that let in the whole network and load balancers'
          priority: 4096
          direction: 'Inbound'
          access: 'Deny'
          protocol: '*'
          sourceAddressPrefix: '*'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

resource address 'Microsoft.Network/publicIPAddresses@2025-07-01' = if (internet != 'none') {
  // An address of its own is the slot's; the NAT gateway's is shared.
  name: internet == 'public' ? '${prefix}-public-${slot}' : '${prefix}-outbound'
  location: location
  sku: {
    name: 'Standard'
  }
  properties: {
    publicIPAllocationMethod: 'Static'
    publicIPAddressVersion: 'IPv4'
  }
}

resource nat 'Microsoft.Network/natGateways@2025-07-01' = if (internet == 'outbound') {
  name: '${prefix}-nat'
  location: location
  sku: {
    name: 'Standard'
  }
  properties: {
    publicIpAddresses: [
      {
        id: address.id
      }
    ]
  }
}

resource vnet 'Microsoft.Network/virtualNetworks@2025-07-01' = {
  name: '${prefix}-net'
  location: location
  properties: {
    addressSpace: {
      addressPrefixes: [
        network
      ]
    }
    subnets: [
      {
        name: 'gateway'
        properties: {
          addressPrefix: subnet
          defaultOutboundAccess: false
          networkSecurityGroup: {
            id: rules.id
          }
          natGateway: internet == 'outbound' ? {
            id: nat.id
          } : null
        }
      }
    ]
  }
}

resource nic 'Microsoft.Network/networkInterfaces@2025-07-01' = {
  name: '${prefix}-${slot}'
  location: location
  properties: {
    enableAcceleratedNetworking: false
    enableIPForwarding: false
    ipConfigurations: [
      {
        name: 'gateway'
        properties: {
          privateIPAllocationMethod: 'Static'
          privateIPAddress: slotAddresses[slot]
          subnet: {
            id: '${vnet.id}/subnets/gateway'
          }
          publicIPAddress: internet == 'public' ? {
            id: address.id
          } : null
        }
      }
    ]
  }
}

// No osProfile: the image is specialized, so no user, key, name or agent goes in. No identity: the host in it reaches the metadata
// service, which then has no token to give.
resource vm 'Microsoft.Compute/virtualMachines@2025-11-01' = {
  name: '${prefix}-${slot}'
  location: location
  properties: {
    hardwareProfile: {
      vmSize: size
    }
    securityProfile: {
      securityType: 'ConfidentialVM'
      uefiSettings: {
        // The image is not signed by anyone that Azure's firmware knows. Secure boot would say who made what was booted; what a
        // verifier asks is what was booted, and that PCR 4, 9 and 11 say, byte for byte, with secure boot on or off.
        secureBootEnabled: false
        vTpmEnabled: true
      }
    }
    storageProfile: {
      imageReference: {
        id: image
      }
      osDisk: {
        name: '${prefix}-${slot}'
        osType: 'Linux'
        createOption: 'FromImage'
        deleteOption: 'Delete'
        caching: 'ReadOnly'
        managedDisk: {
          storageAccountType: 'StandardSSD_LRS'
          securityProfile: {
            securityEncryptionType: tpmState
          }
        }
      }
    }
    networkProfile: {
      networkInterfaces: [
        {
          id: nic.id
          properties: {
            primary: true
            deleteOption: 'Delete'
          }
        }
      ]
    }
    diagnosticsProfile: {
      bootDiagnostics: {
        enabled: bootDiagnostics
      }
    }
  }
}

@description('Name of the VM, for az vm.')
output vm string = vm.name

@description('Where agents in the network find the gateway.')
output gateway string = 'https://${slotAddresses[slot]}:${agentPort}'

@description('The public address: of the VM, or of what it sends to the internet. Empty with internet=none.')
output publicAddress string = internet == 'none' ? '' : address!.properties.ipAddress
