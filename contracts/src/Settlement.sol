// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { AccessManaged } from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import { ERC20 } from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import { IParticipants } from "./interfaces/IParticipants.sol";
import { ISettlement } from "./interfaces/ISettlement.sol";

/// @title Settlement
/// @dev One contract is token, escrow and bond, so that locking and paying are plain balance changes. The ledger's address is computed
/// before it is deployed; the ledger refuses to be deployed elsewhere.
contract Settlement is ISettlement, ERC20, AccessManaged {
    uint256 private constant BASIS = 10_000;

    IParticipants public immutable participants;
    address public immutable ledger;
    address public immutable platform;
    uint256 public immutable platformBps;
    uint256 public immutable brokerBps;

    mapping(bytes32 id => uint256) private _escrows;
    mapping(address broker => Bond) private _bonds;

    modifier onlyLedger() {
        if (msg.sender != ledger) revert SettlementNotLedger(msg.sender);
        _;
    }

    constructor(
        address manager,
        IParticipants participants_,
        address ledger_,
        address platform_,
        uint256 platformBps_,
        uint256 brokerBps_
    ) ERC20("Shuyao Credit", "SYC") AccessManaged(manager) {
        if (ledger_ == address(0) || platform_ == address(0)) {
            revert SettlementAddressZero();
        }
        if (platformBps_ > BASIS || brokerBps_ > BASIS - platformBps_) {
            revert SettlementSharesTooLarge(platformBps_ + brokerBps_);
        }
        participants = participants_;
        ledger = ledger_;
        platform = platform_;
        platformBps = platformBps_;
        brokerBps = brokerBps_;
    }

    /// @notice Amounts are in minor units, a hundredth of a credit.
    function decimals() public pure override returns (uint8) {
        return 2;
    }

    /// @inheritdoc ISettlement
    function mint(address to, uint256 amount) external restricted {
        _mint(to, amount);
    }

    /// @inheritdoc ISettlement
    function burn(address from, uint256 amount) external restricted {
        if (from != msg.sender) _spendAllowance(from, msg.sender, amount);
        _burn(from, amount);
    }

    /// @inheritdoc ISettlement
    function postBond(uint256 amount) external {
        if (amount > type(uint128).max) revert SettlementAmountTooLarge(amount);
        _bonds[msg.sender].total += uint128(amount);
        _collect(msg.sender, amount);
        emit BondPosted(msg.sender, amount);
    }

    /// @inheritdoc ISettlement
    function withdrawBond(uint256 amount) external {
        _takeFreeBond(msg.sender, amount);
        _transfer(address(this), msg.sender, amount);
        emit BondWithdrawn(msg.sender, amount);
    }

    /// @inheritdoc ISettlement
    function reclaim(address account) external {
        if (!participants.hasSucceeded(msg.sender, account)) {
            revert SettlementNotSuccessor(account, msg.sender);
        }
        uint256 balance = balanceOf(account);
        uint256 bond = _bonds[account].total - _bonds[account].locked;
        _takeFreeBond(account, bond);
        _transfer(account, msg.sender, balance);
        _transfer(address(this), msg.sender, bond);
        emit Reclaimed(account, msg.sender, balance, bond);
    }

    /// @inheritdoc ISettlement
    function lock(bytes32 id, address buyer, address broker, uint128 amount) external onlyLedger {
        Bond storage bond = _bonds[broker];
        uint256 free = bond.total - bond.locked;
        if (free < amount) revert SettlementBondTooSmall(broker, free, amount);
        bond.locked += amount;
        _escrows[id] = amount;
        _collect(buyer, amount);
    }

    /// @inheritdoc ISettlement
    function release(bytes32 id, address broker, address[] calldata survivors) external onlyLedger {
        uint256 amount = _takeEscrow(id);
        _bonds[broker].locked -= uint128(amount);
        _pay(id, amount, broker, survivors);
    }

    /// @inheritdoc ISettlement
    function refund(bytes32 id, address buyer, address broker) external onlyLedger {
        uint256 amount = _takeEscrow(id);
        _bonds[broker].locked -= uint128(amount);
        _transfer(address(this), buyer, amount);
        emit EscrowRefunded(id, amount);
    }

    /// @inheritdoc ISettlement
    function compensate(bytes32 id, address buyer, address broker, address[] calldata survivors)
        external
        onlyLedger
    {
        uint256 amount = _takeEscrow(id);
        Bond storage bond = _bonds[broker];
        bond.locked -= uint128(amount);
        bond.total -= uint128(amount);
        _transfer(address(this), buyer, amount);
        emit BondForfeited(id, broker, amount);
        _pay(id, amount, address(0), survivors);
    }

    /// @inheritdoc ISettlement
    function bondOf(address broker) external view returns (Bond memory) {
        return _bonds[broker];
    }

    /// @inheritdoc ISettlement
    function escrowOf(bytes32 id) external view returns (uint256) {
        return _escrows[id];
    }

    /// @dev Platform, broker, then equal parts for the survivors; what cannot be divided, and the share of a broker that is none, is the
    /// platform's. The parts add up to `amount`.
    function _pay(bytes32 id, uint256 amount, address broker, address[] calldata survivors) private {
        if (survivors.length == 0) revert SettlementNobodyToPay(id);
        uint256 brokerCut = amount * brokerBps / BASIS;
        uint256 toBroker = broker == address(0) ? 0 : brokerCut;
        uint256 toEach = (amount - amount * platformBps / BASIS - brokerCut) / survivors.length;
        uint256 toPlatform = amount - toBroker - toEach * survivors.length;
        _transfer(address(this), platform, toPlatform);
        if (toBroker != 0) _transfer(address(this), broker, toBroker);
        for (uint256 i = 0; i < survivors.length; ++i) {
            _transfer(address(this), survivors[i], toEach);
        }
        emit EscrowReleased(id, toPlatform, toBroker, toEach);
    }

    function _takeEscrow(bytes32 id) private returns (uint256 amount) {
        amount = _escrows[id];
        delete _escrows[id];
    }

    function _takeFreeBond(address broker, uint256 amount) private {
        Bond storage bond = _bonds[broker];
        uint256 free = bond.total - bond.locked;
        if (free < amount) revert SettlementBondTooSmall(broker, free, amount);
        bond.total -= uint128(amount);
    }

    /// @dev The one way for credits into this contract.
    function _collect(address from, uint256 amount) private {
        super._update(from, address(this), amount);
    }

    function _update(address from, address to, uint256 amount) internal override {
        if (to == address(this)) revert SettlementDirectTransfer();
        super._update(from, to, amount);
    }
}
