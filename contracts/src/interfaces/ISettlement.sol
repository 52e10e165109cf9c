// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

/// @title Credits, escrows and bonds.
/// @notice The contract's own balance is always the sum of all escrows and bonds: credits reach it only by `lock` and `postBond`.
interface ISettlement {
    /// @param total what the broker posted and did not take back or lose
    /// @param locked the part that stands for requests in flight
    struct Bond {
        uint128 total;
        uint128 locked;
    }

    event BondPosted(address indexed broker, uint256 amount);
    event BondWithdrawn(address indexed broker, uint256 amount);
    event EscrowReleased(bytes32 indexed id, uint256 toPlatform, uint256 toBroker, uint256 toEachHolder);
    event EscrowRefunded(bytes32 indexed id, uint256 amount);
    /// @notice The broker withheld: `amount` of its bond went to the buyer, and the escrow to holders and platform.
    event BondForfeited(bytes32 indexed id, address indexed broker, uint256 amount);
    event Reclaimed(address indexed account, address indexed successor, uint256 balance, uint256 bond);

    error SettlementNotLedger(address caller);
    error SettlementAddressZero();
    error SettlementSharesTooLarge(uint256 basisPoints);
    error SettlementBondTooSmall(address broker, uint256 free, uint256 needed);
    error SettlementAmountTooLarge(uint256 amount);
    /// @notice Credits enter this contract only as an escrow or a bond.
    error SettlementDirectTransfer();
    error SettlementNobodyToPay(bytes32 id);
    error SettlementNotSuccessor(address account, address caller);

    /// @notice Makes credits against a payment (bank).
    function mint(address to, uint256 amount) external;

    /// @notice Destroys credits of an account that allowed the caller to (bank); its own without an allowance.
    function burn(address from, uint256 amount) external;

    /// @notice Adds to the caller's bond.
    function postBond(uint256 amount) external;

    /// @notice Takes back a free part of the caller's bond.
    function withdrawBond(uint256 amount) external;

    /// @notice Moves the credits and the free bond of the account that the caller replaced to the caller.
    function reclaim(address account) external;

    /// @notice Takes the price from the buyer and locks as much of the broker's bond (ledger).
    function lock(bytes32 id, address buyer, address broker, uint128 amount) external;

    /// @notice Pays platform, broker and survivors, and frees the bond (ledger).
    function release(bytes32 id, address broker, address[] calldata survivors) external;

    /// @notice Gives the escrow back to the buyer and frees the bond (ledger).
    function refund(bytes32 id, address buyer, address broker) external;

    /// @notice The broker withheld: the buyer is paid from the bond, the survivors from the escrow (ledger). The broker's share
    /// goes to the platform: neither buyer nor holders gain from a broker's fault more than an honest end gives them.
    function compensate(bytes32 id, address buyer, address broker, address[] calldata survivors) external;

    function bondOf(address broker) external view returns (Bond memory);

    function escrowOf(bytes32 id) external view returns (uint256);

    /// @notice The only account that may lock and release.
    function ledger() external view returns (address);

    function platform() external view returns (address);

    function platformBps() external view returns (uint256);

    function brokerBps() external view returns (uint256);
}
