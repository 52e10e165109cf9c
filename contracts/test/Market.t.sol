// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import { IERC20Errors } from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import { IAssetRegistry } from "../src/interfaces/IAssetRegistry.sol";
import { IComputeLedger } from "../src/interfaces/IComputeLedger.sol";
import { IParticipants } from "../src/interfaces/IParticipants.sol";
import { ISettlement } from "../src/interfaces/ISettlement.sol";
import { Roles } from "../src/Roles.sol";
import { Settlement } from "../src/Settlement.sol";
import { Fixture } from "./Fixture.sol";

/// @title Participants, assets, credits and bonds.
contract MarketTest is Fixture {
    bytes32 private constant KEY = keccak256("x25519");
    address private constant OPERATOR = address(0x7777);
    address private constant ACCOUNT = address(0x8888);
    address private constant OTHER = address(0x9999);

    function setUp() public {
        deploy();
    }

    // ---------------------------------------------------------------- participants

    function _admitCall(address account, address operator, uint32 roles) private view returns (bytes memory) {
        return abi.encodeCall(participants.admit, (account, operator, roles, KEY));
    }

    function _refuseAdmin(address from, bytes memory data, bytes4 selector) private {
        refuse(from, address(participants), data, selector);
    }

    function _admin(address from, bytes memory data) private {
        perform(from, address(participants), data);
    }

    function test_only_registrar_regulator_and_bank_may_do_their_part() public {
        bytes4 denied = IAccessManaged.AccessManagedUnauthorized.selector;
        bytes[5] memory calls = [
            _admitCall(ACCOUNT, OPERATOR, Roles.BUYER),
            abi.encodeCall(participants.setRoles, (buyer, 0)),
            abi.encodeCall(participants.replaceAccount, (buyer, ACCOUNT, KEY)),
            abi.encodeCall(participants.suspend, (buyer)),
            abi.encodeCall(participants.lift, (buyer))
        ];
        for (uint256 k = 0; k < calls.length; ++k) {
            _refuseAdmin(stranger, calls[k], denied);
            _refuseAdmin(bank, calls[k], denied);
            _refuseAdmin(k < 3 ? regulator : registrar, calls[k], denied);
        }
        refuse(registrar, address(settlement), abi.encodeCall(settlement.mint, (registrar, 1)), denied);
        refuse(stranger, address(settlement), abi.encodeCall(settlement.burn, (buyer, 1)), denied);
    }

    function test_admission_is_once_with_known_roles_and_a_key() public {
        _refuseAdmin(
            registrar, _admitCall(address(0), OPERATOR, 2), IParticipants.ParticipantsAddressZero.selector
        );
        _refuseAdmin(
            registrar, _admitCall(ACCOUNT, address(0), 2), IParticipants.ParticipantsAddressZero.selector
        );
        _refuseAdmin(
            registrar, _admitCall(ACCOUNT, OPERATOR, 0), IParticipants.ParticipantsRolesUnknown.selector
        );
        _refuseAdmin(
            registrar, _admitCall(ACCOUNT, OPERATOR, 256), IParticipants.ParticipantsRolesUnknown.selector
        );
        bytes memory noKey = abi.encodeCall(participants.admit, (ACCOUNT, OPERATOR, 2, bytes32(0)));
        _refuseAdmin(registrar, noKey, IParticipants.ParticipantsKeyZero.selector);
        _admin(registrar, _admitCall(ACCOUNT, OPERATOR, Roles.HOLDER | Roles.BUYER));
        IParticipants.Participant memory p = participants.get(ACCOUNT);
        assertEq(p.operator, OPERATOR, "operator");
        assertEq(p.roles, Roles.HOLDER | Roles.BUYER, "roles");
        assertEq(p.keyVersion, 1, "first key");
        assertEq(participants.holderOf(OPERATOR), ACCOUNT, "holder of the operator");
        _refuseAdmin(
            registrar, _admitCall(ACCOUNT, OTHER, 8), IParticipants.ParticipantsAlreadyAdmitted.selector
        );
    }

    function test_no_operator_is_broker_and_regulator_whatever_the_accounts() public {
        bytes4 conflict = IParticipants.ParticipantsOperatorConflict.selector;
        _refuseAdmin(registrar, _admitCall(ACCOUNT, OPERATOR, Roles.BROKER | Roles.REGULATOR), conflict);
        _admin(registrar, _admitCall(ACCOUNT, OPERATOR, Roles.BROKER));
        _refuseAdmin(registrar, _admitCall(OTHER, OPERATOR, Roles.REGULATOR), conflict);
        _refuseAdmin(
            registrar,
            abi.encodeCall(participants.setRoles, (ACCOUNT, Roles.BROKER | Roles.REGULATOR)),
            conflict
        );
        _admin(registrar, abi.encodeCall(participants.setRoles, (ACCOUNT, Roles.REGULATOR)));
        _admin(registrar, _admitCall(OTHER, OPERATOR, Roles.REGULATOR));
        _refuseAdmin(registrar, abi.encodeCall(participants.setRoles, (ACCOUNT, Roles.BROKER)), conflict);
    }

    function test_an_operator_has_one_holder_account_suspended_or_not() public {
        bytes4 taken = IParticipants.ParticipantsOperatorHasHolder.selector;
        _admin(registrar, _admitCall(ACCOUNT, OPERATOR, Roles.HOLDER));
        _refuseAdmin(registrar, _admitCall(OTHER, OPERATOR, Roles.HOLDER), taken);
        _admin(regulator, abi.encodeCall(participants.suspend, (ACCOUNT)));
        _refuseAdmin(registrar, _admitCall(OTHER, OPERATOR, Roles.HOLDER), taken);
        _admin(registrar, abi.encodeCall(participants.setRoles, (ACCOUNT, 0)));
        assertEq(participants.holderOf(OPERATOR), address(0), "free");
        _admin(registrar, _admitCall(OTHER, OPERATOR, Roles.HOLDER));
        _refuseAdmin(registrar, abi.encodeCall(participants.setRoles, (ACCOUNT, Roles.HOLDER)), taken);
    }

    function test_suspension_and_its_end() public {
        bytes memory suspend = abi.encodeCall(participants.suspend, (buyer));
        bytes memory lift = abi.encodeCall(participants.lift, (buyer));
        _refuseAdmin(regulator, lift, IParticipants.ParticipantsStatusInvalid.selector);
        _admin(regulator, suspend);
        assertTrue(!participants.isActive(buyer, Roles.BUYER), "suspended");
        _refuseAdmin(regulator, suspend, IParticipants.ParticipantsStatusInvalid.selector);
        bytes memory rotate = abi.encodeCall(participants.rotateKeys, (KEY));
        _refuseAdmin(buyer, rotate, IParticipants.ParticipantsInactive.selector);
        _admin(regulator, lift);
        assertTrue(participants.isActive(buyer, Roles.BUYER), "active");
        bytes memory nobody = abi.encodeCall(participants.suspend, (stranger));
        _refuseAdmin(regulator, nobody, IParticipants.ParticipantsStatusInvalid.selector);
    }

    function test_keys_are_rotated_by_their_owner() public {
        perform(buyer, address(participants), abi.encodeCall(participants.rotateKeys, (KEY)));
        assertEq(participants.get(buyer).keyVersion, 2, "version");
        assertEq(participants.get(buyer).x25519, KEY, "key");
        bytes memory zero = abi.encodeCall(participants.rotateKeys, (bytes32(0)));
        _refuseAdmin(buyer, zero, IParticipants.ParticipantsKeyZero.selector);
        bytes memory rotate = abi.encodeCall(participants.rotateKeys, (KEY));
        _refuseAdmin(stranger, rotate, IParticipants.ParticipantsInactive.selector);
    }

    function test_replaced_account_keeps_its_budget_line_and_its_assets_follow() public {
        address old = holders[0];
        address lost = vm.addr(0xF001);
        address present = vm.addr(0xF002);
        IComputeLedger.Request memory r = runTo(1, 4);
        _admin(registrar, abi.encodeCall(participants.replaceAccount, (old, lost, KEY)));
        _admin(registrar, abi.encodeCall(participants.replaceAccount, (lost, present, KEY)));
        assertEq(participants.rootOf(present), old, "root");
        assertEq(participants.get(present).keyVersion, 3, "key version");
        assertEq(participants.get(old).status, 3, "replaced");
        assertEq(participants.holderOf(operatorOf(old)), present, "holder of the operator");
        bytes32 asset = assetOf(old);
        bytes4 notSuccessor = IAssetRegistry.AssetRegistryNotSuccessor.selector;
        bytes memory adopt = abi.encodeCall(assets.adopt, (asset));
        refuse(holders[1], address(assets), adopt, notSuccessor);
        refuse(lost, address(assets), adopt, IParticipants.ParticipantsInactive.selector);
        perform(present, address(assets), adopt);
        refuse(present, address(assets), adopt, notSuccessor);
        assertEq(assets.get(asset).holder, present, "adopted");
        assertEq(assets.get(asset).line, lineOf(old), "the same line");
        assertEq(ledger.line(lineOf(old)).spent, r.rho, "with what was spent");
        bytes memory again = abi.encodeCall(ledger.openLine, (KEY_SPACE, BUDGET));
        refuse(present, again, IComputeLedger.ComputeLedgerLineExists.selector);
        bytes memory other = abi.encodeCall(ledger.openLine, (keccak256("firms"), BUDGET));
        refuse(old, other, IParticipants.ParticipantsInactive.selector);
        bytes memory replace = abi.encodeCall(participants.replaceAccount, (old, address(0xF003), KEY));
        _refuseAdmin(registrar, replace, IParticipants.ParticipantsStatusInvalid.selector);
        replace = abi.encodeCall(participants.replaceAccount, (present, holders[1], KEY));
        _refuseAdmin(registrar, replace, IParticipants.ParticipantsAlreadyAdmitted.selector);
    }

    function test_credits_and_free_bond_follow_a_replaced_account() public {
        address present = vm.addr(0xF002);
        runTo(1, 1);
        perform(bank, address(settlement), abi.encodeCall(settlement.mint, (broker, 500)));
        _admin(registrar, abi.encodeCall(participants.replaceAccount, (broker, present, KEY)));
        bytes memory reclaim = abi.encodeCall(settlement.reclaim, (broker));
        refuse(stranger, address(settlement), reclaim, ISettlement.SettlementNotSuccessor.selector);
        refuse(broker, address(settlement), reclaim, ISettlement.SettlementNotSuccessor.selector);
        perform(present, address(settlement), reclaim);
        assertEq(settlement.balanceOf(present), 500 + FUNDS - PRICE, "all but what is locked");
        assertEq(settlement.bondOf(broker).total, PRICE, "stands for the request in flight");
    }

    // ---------------------------------------------------------------- assets

    function test_asset_is_bound_to_who_registers_it() public {
        bytes32 asset = assetOf(holders[0]);
        bytes memory register = abi.encodeCall(assets.register, (NAME, KEY_SPACE, KEY, KEY, KEY, 1));
        refuse(holders[0], address(assets), register, IAssetRegistry.AssetRegistryExists.selector);
        refuse(buyer, address(assets), register, IParticipants.ParticipantsInactive.selector);
        bytes memory update = abi.encodeCall(assets.update, (asset, KEY, KEY, KEY, 2));
        refuse(holders[1], address(assets), update, IAssetRegistry.AssetRegistryNotHolder.selector);
        perform(holders[0], address(assets), update);
        assertEq(assets.get(asset).version, 2, "version");
        assertEq(assets.get(asset).line, lineOf(holders[0]), "the line never changes");
        perform(holders[0], address(assets), abi.encodeCall(assets.retire, (asset)));
        refuse(holders[0], address(assets), update, IAssetRegistry.AssetRegistryInactive.selector);
        refuse(holders[0], address(assets), register, IAssetRegistry.AssetRegistryExists.selector);
    }

    function test_core_asset_is_registered_but_never_listed() public {
        bytes32 asset = registerAsset(holders[0], keccak256("core"), 3);
        bytes memory entrust = abi.encodeCall(assets.entrust, (asset, listing, broker));
        refuse(holders[0], address(assets), entrust, IAssetRegistry.AssetRegistryGradeCore.selector);
        IComputeLedger.Request memory r = newRequest(1);
        open(r);
        bytes memory raise = abi.encodeCall(assets.update, (assetOf(holders[0]), KEY, KEY, KEY, 3));
        perform(holders[0], address(assets), raise);
        refuse(holders[0], approveCall(r, 0), IAssetRegistry.AssetRegistryGradeCore.selector);
        for (uint8 grade = 0; grade < 5; grade += 4) {
            bytes memory unknown = abi.encodeCall(assets.register, (KEY, KEY_SPACE, KEY, KEY, KEY, grade));
            refuse(holders[0], address(assets), unknown, IAssetRegistry.AssetRegistryGradeUnknown.selector);
        }
    }

    function test_entrustment_is_the_holders_to_give_and_take_back() public {
        bytes32 asset = assetOf(holders[0]);
        bytes memory entrust = abi.encodeCall(assets.entrust, (asset, listing, broker));
        bytes memory withdraw = abi.encodeCall(assets.withdraw, (asset, listing));
        refuse(holders[1], address(assets), entrust, IAssetRegistry.AssetRegistryNotHolder.selector);
        refuse(broker, address(assets), withdraw, IAssetRegistry.AssetRegistryNotHolder.selector);
        assertEq(assets.entrustedTo(listing, asset), broker, "entrusted");
        perform(holders[0], address(assets), withdraw);
        assertEq(assets.entrustedTo(listing, asset), address(0), "withdrawn");
        refuse(holders[0], address(assets), withdraw, IAssetRegistry.AssetRegistryNotEntrusted.selector);
        bytes memory noBroker = abi.encodeCall(assets.entrust, (asset, listing, buyer));
        refuse(holders[0], address(assets), noBroker, IParticipants.ParticipantsInactive.selector);
    }

    // ---------------------------------------------------------------- credits and bonds

    function test_only_the_ledger_locks_and_pays() public {
        bytes4 denied = ISettlement.SettlementNotLedger.selector;
        address[] memory nobody = new address[](1);
        refuse(broker, address(settlement), abi.encodeCall(settlement.lock, (KEY, buyer, broker, 1)), denied);
        refuse(broker, address(settlement), abi.encodeCall(settlement.release, (KEY, broker, nobody)), denied);
        refuse(broker, address(settlement), abi.encodeCall(settlement.refund, (KEY, buyer, broker)), denied);
        bytes memory compensate = abi.encodeCall(settlement.compensate, (KEY, buyer, broker, nobody));
        refuse(broker, address(settlement), compensate, denied);
    }

    function test_only_the_free_bond_can_be_withdrawn() public {
        runTo(1, 1);
        bytes memory tooMuch = abi.encodeCall(settlement.withdrawBond, (FUNDS - PRICE + 1));
        refuse(broker, address(settlement), tooMuch, ISettlement.SettlementBondTooSmall.selector);
        perform(broker, address(settlement), abi.encodeCall(settlement.withdrawBond, (FUNDS - PRICE)));
        assertEq(settlement.balanceOf(broker), FUNDS - PRICE, "back");
        bytes memory huge = abi.encodeCall(settlement.postBond, (uint256(type(uint128).max) + 1));
        refuse(broker, address(settlement), huge, ISettlement.SettlementAmountTooLarge.selector);
    }

    function test_credits_enter_the_contract_only_as_escrow_or_bond() public {
        bytes4 direct = ISettlement.SettlementDirectTransfer.selector;
        bytes memory transfer = abi.encodeCall(settlement.transfer, (address(settlement), 1));
        refuse(buyer, address(settlement), transfer, direct);
        bytes memory mint = abi.encodeCall(settlement.mint, (address(settlement), 1));
        refuse(bank, address(settlement), mint, direct);
    }

    function test_bank_burns_only_what_it_was_allowed_to() public {
        bytes memory burn = abi.encodeCall(settlement.burn, (buyer, 10));
        refuse(bank, address(settlement), burn, IERC20Errors.ERC20InsufficientAllowance.selector);
        perform(buyer, address(settlement), abi.encodeCall(settlement.approve, (bank, 10)));
        perform(bank, address(settlement), burn);
        assertEq(settlement.balanceOf(buyer), FUNDS - 10, "burnt");
    }

    function test_shares_above_the_whole_are_refused() public {
        vm.expectRevert(abi.encodeWithSelector(ISettlement.SettlementSharesTooLarge.selector, 10_001));
        new Settlement(address(manager), participants, address(ledger), platform, 9_001, 1_000);
        vm.expectRevert(ISettlement.SettlementAddressZero.selector);
        new Settlement(address(manager), participants, address(ledger), address(0), 200, 800);
    }

    function testFuzz_every_split_adds_up(uint128 price, uint8 n) public {
        price = uint128(bound(price, 0, FUNDS));
        uint16 count = uint16(bound(n, 1, HOLDERS));
        IComputeLedger.Request memory r = newRequest(count);
        r.price = price;
        r.dropouts = 0;
        open(r);
        for (uint256 i = 0; i < count; ++i) {
            approve(r, i);
        }
        for (uint256 i = 0; i < count; ++i) {
            share(r, i);
        }
        for (uint256 i = 0; i < count; ++i) {
            contribute(r, i);
        }
        seal(r);
        answer(r, keccak256("answer"));
        accept(r);
        uint256 paid = settlement.balanceOf(platform) + settlement.balanceOf(broker);
        for (uint256 i = 0; i < count; ++i) {
            assertEq(settlement.balanceOf(holders[i]), settlement.balanceOf(holders[0]), "equal parts");
            paid += settlement.balanceOf(holders[i]);
        }
        assertEq(paid, price, "all of the price");
        assertEq(settlement.balanceOf(broker), uint256(price) * 800 / 10_000, "the broker's share");
    }
}
