// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

/// @title Data assets: their versions, their budget lines, and which broker may list them.
/// @notice An asset's id is `H("asset"; holder, keccak(name))`, its budget line `H("line"; holder, keccak(key space))`: nobody else
/// can claim either. After an account was replaced, `holder` in the line is still the participant's first account, so that a
/// lost key does not renew a budget.
interface IAssetRegistry {
    /// @param version counts updates, from 1
    /// @param grade 1 general, 2 important, 3 core
    /// @param status 0 none, 5 registered, 6 retired; 1-4 (applied, accepted, in review, public notice) and 7-15 are reserved
    struct Asset {
        address holder;
        uint32 version;
        uint8 grade;
        uint8 status;
        bytes32 line;
        bytes32 policyHash;
        bytes32 snapshotRoot;
        bytes32 descriptorHash;
    }

    event AssetRegistered(
        bytes32 indexed asset,
        address indexed holder,
        bytes32 nameHash,
        bytes32 keySpaceHash,
        bytes32 line,
        bytes32 policyHash,
        bytes32 snapshotRoot,
        bytes32 descriptorHash,
        uint8 grade
    );
    event AssetUpdated(
        bytes32 indexed asset,
        uint32 version,
        bytes32 policyHash,
        bytes32 snapshotRoot,
        bytes32 descriptorHash,
        uint8 grade
    );
    event AssetRetired(bytes32 indexed asset);
    event AssetAdopted(bytes32 indexed asset, address indexed from, address indexed to);
    event Entrusted(bytes32 indexed asset, bytes32 indexed listing, address indexed broker);
    event EntrustmentWithdrawn(bytes32 indexed asset, bytes32 indexed listing);

    error AssetRegistryExists(bytes32 asset);
    error AssetRegistryInactive(bytes32 asset, uint8 status);
    error AssetRegistryNotHolder(bytes32 asset, address caller);
    error AssetRegistryGradeUnknown(uint8 grade);
    /// @notice An asset of grade core cannot be listed.
    error AssetRegistryGradeCore(bytes32 asset);
    error AssetRegistryNotEntrusted(bytes32 asset, bytes32 listing, address broker);
    /// @notice Only the account that took the place of the asset's holder can adopt it.
    error AssetRegistryNotSuccessor(bytes32 asset, address caller);

    /// @notice Registers an asset of the caller, an active holder.
    function register(
        bytes32 nameHash,
        bytes32 keySpaceHash,
        bytes32 policyHash,
        bytes32 snapshotRoot,
        bytes32 descriptorHash,
        uint8 grade
    ) external returns (bytes32 asset);

    /// @notice Makes a new version of the caller's asset. The budget line never changes.
    function update(
        bytes32 asset,
        bytes32 policyHash,
        bytes32 snapshotRoot,
        bytes32 descriptorHash,
        uint8 grade
    ) external;

    /// @notice Ends the caller's asset for good.
    function retire(bytes32 asset) external;

    /// @notice Takes over an asset of the account that the caller replaced.
    function adopt(bytes32 asset) external;

    /// @notice Lets a broker list the caller's asset under `listing`.
    function entrust(bytes32 asset, bytes32 listing, address broker) external;

    /// @notice Takes the entrustment back: no later request can be approved under it.
    function withdraw(bytes32 asset, bytes32 listing) external;

    function get(bytes32 asset) external view returns (Asset memory);

    /// @notice The broker that may list the asset under `listing`, zero if none.
    function entrustedTo(bytes32 listing, bytes32 asset) external view returns (address broker);

    /// @notice Reverts unless the asset is `holder`'s, registered, not core, and entrusted to `broker` under `listing`.
    function requireEntrusted(bytes32 asset, bytes32 listing, address holder, address broker)
        external
        view
        returns (uint32 version, bytes32 line);

    /// @notice The id of the budget line of an account and a key space.
    function lineId(address holder, bytes32 keySpaceHash) external view returns (bytes32);
}
