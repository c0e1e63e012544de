// Flavour azure: the enclave alone in a confidential VM, the host in an ordinary VM beside it.
// A network that only the two are in, with rules that let the enclave speak with the host and with nobody else.
// docs/azure.md has the commands, and says what of this was not tried.

@description('Region of everything.')
param location string = resourceGroup().location

@description('Names begin with this.')
@minLength(1)
@maxLength(32)
param prefix string = 'cmcp'

@description('The image version that the enclave boots: the output `image` of image.bicep, flavour azure.')
@minLength(1)
param image string

@description('Which of two places the enclave has. A new image goes into the other one, and both run until the host is told to change.')
@allowed([
  'a'
  'b'
])
param slot string = 'a'

@description('Size of the enclave VM. as/ads: AMD SEV-SNP; es/eds: Intel TDX. Microsoft has announced the end of the Intel v5 sizes.')
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
param enclaveSize string = 'Standard_DC2as_v5'

@description('State of the virtual TPM: kept, encrypted, with the VM (VMGuestStateOnly), or new at each start (NonPersistedTPM, which fewer regions and sizes have). The enclave keeps nothing in it either way.')
@allowed([
  'VMGuestStateOnly'
  'NonPersistedTPM'
])
param tpmState string = 'VMGuestStateOnly'

@description('Storage of the boot diagnostics, which show what the enclave prints when it starts. They may turn on the console, which evidence then shows and reference values refuse unless they allow it (platforms.azure.allow_console).')
param bootDiagnostics bool = false

@description('Size of the host VM: any ordinary one with SCSI disks.')
param hostSize string = 'Standard_D2s_v5'

@description('Administrator of the host VM.')
param adminUser string = 'cmcpadmin'

@description('Public SSH key of the administrator, one line.')
@minLength(1)
param sshKey string

@description('GiB of the disk with the records, which outlives both VMs.')
@minValue(4)
param storeGiB int = 32

@description('Addresses of the network, for the two VMs alone: at least a /26.')
param network string = '10.80.0.0/24'

@description('Who may connect to the gateway, as CIDR ranges.')
@minLength(1)
param agents array = [
  network
]

@description('Port of the gateway: that of listen_addr in cmcp-config.yaml.')
@minValue(1024)
@maxValue(65535)
param agentPort int = 8443

@description('Who may reach the host VM by SSH, as CIDR ranges. None: connect by Azure Bastion, or name your range while you need it.')
param ssh array = []

@description('How the host VM reaches the internet, where it fetches collateral and finds tool servers. outbound: through a NAT gateway. public: an address of its own, at which agents reach it too. none: by means of your own, such as a peered network.')
@allowed([
  'outbound'
  'public'
  'none'
])
param internet string = 'outbound'

var hostSubnet = cidrSubnet(network, 27, 0)
var enclaveSubnet = cidrSubnet(network, 27, 1)
// The first four addresses of a subnet are Azure's.
var hostAddress = cidrHost(hostSubnet, 3)
var slotAddresses = {
  a: cidrHost(enclaveSubnet, 3)
  b: cidrHost(enclaveSubnet, 4)
}
var enclaves = [
  slotAddresses.a
  slotAddresses.b
]
// What the measured command line of the image says, and where the host listens for the enclave.
var enclavePort = '5000'
var callbackPort = '5001'
var metadataService = '169.254.169.254'

var sshRules = [
  {
    name: 'ssh'
    properties: {
      description: 'Administrators'
      priority: 120
      direction: 'Inbound'
      access: 'Allow'
      protocol: 'Tcp'
      sourceAddressPrefixes: ssh
      sourcePortRange: '*'
      destinationAddressPrefix: hostAddress
      destinationPortRange: '22'
    }
  }
]

resource hostRules 'Microsoft.Network/networkSecurityGroups@2025-07-01' = {
  name: '${prefix}-host'
  location: location
  properties: {
    securityRules: concat(empty(ssh) ? [] : sshRules, [
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
          destinationAddressPrefix: hostAddress
          destinationPortRange: string(agentPort)
        }
      }
      {
        name: 'enclave'
        properties: {
          description: 'Streams that the enclave opens: records, tool servers'
          priority: 110
          direction: 'Inbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefixes: enclaves
          sourcePortRange: '*'
          destinationAddressPrefix: hostAddress
          destinationPortRange: callbackPort
        }
      }
      {
        name: 'nobody-else'
        properties: {
          description: 'Before the rule that lets in the whole network'
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
    ])
  }
}

resource enclaveRules 'Microsoft.Network/networkSecurityGroups@2025-07-01' = {
  name: '${prefix}-enclave'
  location: location
  properties: {
    securityRules: [
      {
        name: 'host'
        properties: {
          description: 'The host, and nobody else'
          priority: 100
          direction: 'Inbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefix: hostAddress
          sourcePortRange: '*'
          destinationAddressPrefixes: enclaves
          destinationPortRange: enclavePort
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
      {
        name: 'to-host'
        properties: {
          description: 'Streams that the enclave opens'
          priority: 100
          direction: 'Outbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefixes: enclaves
          sourcePortRange: '*'
          destinationAddressPrefix: hostAddress
          destinationPortRange: callbackPort
        }
      }
      {
        name: 'to-metadata'
        properties: {
          description: 'Certificates and quotes of this VM, which the enclave relays to the host'
          priority: 110
          direction: 'Outbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefixes: enclaves
          sourcePortRange: '*'
          destinationAddressPrefix: metadataService
          destinationPortRange: '80'
        }
      }
      {
        name: 'no-names'
        properties: {
          description: 'Azure answers DNS in spite of rules that do not name it; the enclave resolves nothing'
          priority: 4095
          direction: 'Outbound'
          access: 'Deny'
          protocol: '*'
          sourceAddressPrefix: '*'
          sourcePortRange: '*'
          destinationAddressPrefix: 'AzurePlatformDNS'
          destinationPortRange: '*'
        }
      }
      {
        name: 'to-nobody-else'
        properties: {
          description: 'Before the rules that let out to the whole network and the internet'
          priority: 4096
          direction: 'Outbound'
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
  name: '${prefix}-${internet}'
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
        name: 'host'
        properties: {
          addressPrefix: hostSubnet
          defaultOutboundAccess: false
          networkSecurityGroup: {
            id: hostRules.id
          }
          natGateway: internet == 'outbound' ? {
            id: nat.id
          } : null
        }
      }
      {
        name: 'enclave'
        properties: {
          addressPrefix: enclaveSubnet
          defaultOutboundAccess: false
          networkSecurityGroup: {
            id: enclaveRules.id
          }
        }
      }
    ]
  }
}

resource enclaveNic 'Microsoft.Network/networkInterfaces@2025-07-01' = {
  name: '${prefix}-enclave-${slot}'
  location: location
  properties: {
    enableAcceleratedNetworking: false
    enableIPForwarding: false
    ipConfigurations: [
      {
        name: 'enclave'
        properties: {
          privateIPAllocationMethod: 'Static'
          privateIPAddress: slotAddresses[slot]
          subnet: {
            id: '${vnet.id}/subnets/enclave'
          }
        }
      }
    ]
  }
}

// No osProfile: the image is specialized, so no user, key, name or agent goes in. No identity: the metadata service, which the
// host reaches through the enclave, has no token to give.
resource enclave 'Microsoft.Compute/virtualMachines@2025-11-01' = {
  name: '${prefix}-enclave-${slot}'
  location: location
  properties: {
    hardwareProfile: {
      vmSize: enclaveSize
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
        name: '${prefix}-enclave-${slot}'
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
          id: enclaveNic.id
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

resource hostNic 'Microsoft.Network/networkInterfaces@2025-07-01' = {
  name: '${prefix}-host'
  location: location
  properties: {
    ipConfigurations: [
      {
        name: 'host'
        properties: {
          privateIPAllocationMethod: 'Static'
          privateIPAddress: hostAddress
          subnet: {
            id: '${vnet.id}/subnets/host'
          }
          publicIPAddress: internet == 'public' ? {
            id: address.id
          } : null
        }
      }
    ]
  }
}

resource store 'Microsoft.Compute/disks@2025-01-02' = {
  name: '${prefix}-store'
  location: location
  sku: {
    name: 'StandardSSD_LRS'
  }
  properties: {
    creationData: {
      createOption: 'Empty'
    }
    diskSizeGB: storeGiB
    networkAccessPolicy: 'DenyAll'
    publicNetworkAccess: 'Disabled'
  }
}

resource host 'Microsoft.Compute/virtualMachines@2025-11-01' = {
  name: '${prefix}-host'
  location: location
  properties: {
    hardwareProfile: {
      vmSize: hostSize
    }
    storageProfile: {
      imageReference: {
        publisher: 'Debian'
        offer: 'debian-12'
        sku: '12-gen2'
        version: 'latest'
      }
      osDisk: {
        name: '${prefix}-host'
        createOption: 'FromImage'
        deleteOption: 'Delete'
        managedDisk: {
          storageAccountType: 'StandardSSD_LRS'
        }
      }
      dataDisks: [
        {
          lun: 0
          createOption: 'Attach'
          deleteOption: 'Detach'
          caching: 'None'
          managedDisk: {
            id: store.id
          }
        }
      ]
    }
    osProfile: {
      computerName: '${prefix}-host'
      adminUsername: adminUser
      // The same for both slots, because Azure refuses to change it later.
      customData: base64(replace(loadTextContent('host.yaml'), 'ENCLAVE_ADDRESS', slotAddresses.a))
      linuxConfiguration: {
        disablePasswordAuthentication: true
        ssh: {
          publicKeys: [
            {
              path: '/home/${adminUser}/.ssh/authorized_keys'
              keyData: sshKey
            }
          ]
        }
      }
    }
    networkProfile: {
      networkInterfaces: [
        {
          id: hostNic.id
          properties: {
            primary: true
            deleteOption: 'Delete'
          }
        }
      ]
    }
  }
}

@description('What `host --enclave` takes.')
output enclave string = 'tcp://${slotAddresses[slot]}:${enclavePort}'

@description('Name of the enclave VM, for az vm.')
output enclaveVm string = enclave.name

@description('Name of the host VM, for az vm.')
output hostVm string = host.name

@description('Where agents in the network find the gateway.')
output gateway string = 'https://${hostAddress}:${agentPort}'

@description('The public address: of the host VM, or of what it sends to the internet. Empty with internet=none.')
output publicAddress string = internet == 'none' ? '' : address!.properties.ipAddress
