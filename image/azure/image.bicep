// The image, from the disk that its VHD was uploaded to: a gallery, an image definition and an image version.
// Deploy it again with another version for each new image. docs/azure.md has the commands.

@description('Region of the uploaded disk, the gallery and the VMs.')
param location string = resourceGroup().location

@description('Name of the gallery: letters, digits, dots and underscores.')
@minLength(1)
@maxLength(80)
param gallery string = 'cmcp'

@description('Which image it is. Each flavour has a definition of its own.')
@allowed([
  'azure'
  'azure-single'
])
param flavour string = 'azure'

@description('Version of the image, three numbers. Versions are never overwritten; 0.0.0 is no version.')
@minLength(5)
param version string

@description('Name of the managed disk in this resource group that disk.vhd was uploaded to. It is copied, and can be deleted afterwards.')
@minLength(1)
param disk string

@description('Copies of the image in the region. One is enough for a few VMs.')
@minValue(1)
@maxValue(100)
param replicas int = 1

resource uploaded 'Microsoft.Compute/disks@2025-01-02' existing = {
  name: disk
}

resource images 'Microsoft.Compute/galleries@2025-03-03' = {
  name: gallery
  location: location
  properties: {
    description: 'Measured images of the gateway'
  }
}

resource definition 'Microsoft.Compute/galleries/images@2025-03-03' = {
  parent: images
  name: 'cmcp-${flavour}'
  location: location
  properties: {
    description: 'One EFI program: kernel and enclave. No agent, no user, no shell'
    osType: 'Linux'
    // Nothing in it takes a user, a key or a name when it starts: there is nothing to generalize.
    osState: 'Specialized'
    hyperVGeneration: 'V2'
    architecture: 'x64'
    identifier: {
      publisher: 'cmcp'
      offer: 'gateway'
      sku: flavour
    }
    features: [
      {
        name: 'SecurityType'
        value: 'ConfidentialVMSupported'
      }
      {
        name: 'DiskControllerTypes'
        value: 'SCSI, NVMe'
      }
      {
        // The kernel drives Hyper-V's network device alone.
        name: 'IsAcceleratedNetworkSupported'
        value: 'False'
      }
    ]
  }
}

resource imageVersion 'Microsoft.Compute/galleries/images/versions@2025-03-03' = {
  parent: definition
  name: version
  location: location
  properties: {
    publishingProfile: {
      replicaCount: replicas
      storageAccountType: 'Standard_LRS'
      targetRegions: [
        {
          name: location
          regionalReplicaCount: replicas
          storageAccountType: 'Standard_LRS'
        }
      ]
    }
    storageProfile: {
      osDiskImage: {
        source: {
          id: uploaded.id
        }
      }
    }
  }
}

@description('What the VM templates take as `image`.')
output image string = imageVersion.id
