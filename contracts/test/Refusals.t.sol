// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { Bls12381 } from "../src/Bls12381.sol";
import { IAssetRegistry } from "../src/interfaces/IAssetRegistry.sol";
import { IComputeLedger } from "../src/interfaces/IComputeLedger.sol";
import { IParticipants } from "../src/interfaces/IParticipants.sol";
import { ISettlement } from "../src/interfaces/ISettlement.sol";
import { Roles } from "../src/Roles.sol";
import { Fixture } from "./Fixture.sol";

/// @title What the ledger refuses before the seal, each with its named error.
contract RefusalsTest is Fixture {
    function setUp() public {
        deploy();
    }

    // ---------------------------------------------------------------- open

    function test_open_is_for_the_broker_of_the_request_only() public {
        IComputeLedger.Request memory r = newRequest(3);
        refuse(stranger, openCall(r, BUYER_KEY), IComputeLedger.ComputeLedgerCallerWrong.selector);
        refuse(buyer, openCall(r, BUYER_KEY), IComputeLedger.ComputeLedgerCallerWrong.selector);
    }

    function test_open_refuses_a_forged_or_malleable_signature() public {
        IComputeLedger.Request memory r = newRequest(3);
        bytes4 wrong = IComputeLedger.ComputeLedgerSignatureWrong.selector;
        refuse(broker, openCall(r, BROKER_KEY), wrong);
        (uint8 v, bytes32 x, bytes32 s) = vm.sign(BUYER_KEY, idOf(r));
        bytes32 high =
            bytes32(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 - uint256(s));
        _refuseSignature(r, abi.encodePacked(x, high, v == 27 ? uint8(28) : uint8(27)));
        _refuseSignature(r, abi.encodePacked(x, s, v - 27));
        _refuseSignature(r, abi.encodePacked(x, s));
        _refuseSignature(r, abi.encodePacked(x, s, v, uint8(0)));
        _refuseSignature(r, "");
    }

    function _refuseSignature(IComputeLedger.Request memory r, bytes memory signature) private {
        bytes memory data = abi.encodeCall(ledger.open, (r, signature));
        refuse(broker, data, IComputeLedger.ComputeLedgerSignatureWrong.selector);
    }

    function testFuzz_open_refuses_a_request_that_the_buyer_did_not_sign(uint256 field, uint64 delta) public {
        IComputeLedger.Request memory r = newRequest(3);
        bytes memory signature = sign(BUYER_KEY, idOf(r));
        field = bound(field, 0, 5);
        delta = uint64(bound(delta, 1, 1e9));
        if (field == 0) r.price += delta;
        if (field == 1) r.rho += delta;
        if (field == 2) r.planHash = bytes32(uint256(r.planHash) ^ delta);
        if (field == 3) r.listing = bytes32(uint256(r.listing) ^ delta);
        if (field == 4) r.answerBy += delta;
        if (field == 5) r.nonce += delta;
        _refuseSignature(r, signature);
    }

    function test_open_twice_is_a_replay() public {
        IComputeLedger.Request memory r = newRequest(3);
        open(r);
        refuse(broker, openCall(r, BUYER_KEY), IComputeLedger.ComputeLedgerStateWrong.selector);
    }

    function test_open_refuses_deadlines_that_are_past_or_not_ascending() public {
        bytes4 wrong = IComputeLedger.ComputeLedgerDeadlinesWrong.selector;
        IComputeLedger.Request memory r = newRequest(3);
        r.approveBy = uint64(block.number);
        refuse(broker, openCall(r, BUYER_KEY), wrong);
        r = newRequest(3);
        r.shareBy = r.approveBy;
        refuse(broker, openCall(r, BUYER_KEY), wrong);
        r = newRequest(3);
        r.contributeBy = r.shareBy;
        refuse(broker, openCall(r, BUYER_KEY), wrong);
        r = newRequest(3);
        r.answerBy = r.contributeBy;
        refuse(broker, openCall(r, BUYER_KEY), wrong);
    }

    function test_open_refuses_what_no_roster_could_answer() public {
        bytes4 invalid = IComputeLedger.ComputeLedgerRequestInvalid.selector;
        IComputeLedger.Request memory r = newRequest(0);
        refuse(broker, openCall(r, BUYER_KEY), invalid);
        r = newRequest(1025);
        refuse(broker, openCall(r, BUYER_KEY), invalid);
        r = newRequest(3);
        r.minHolders = 4;
        refuse(broker, openCall(r, BUYER_KEY), invalid);
        r = newRequest(3);
        r.colluders = 3;
        refuse(broker, openCall(r, BUYER_KEY), invalid);
        r = newRequest(3);
        r.rho = 0;
        refuse(broker, openCall(r, BUYER_KEY), invalid);
        r = newRequest(3);
        r.keyParity = 4;
        refuse(broker, openCall(r, BUYER_KEY), IComputeLedger.ComputeLedgerKeyInvalid.selector);
    }

    function test_open_refuses_words_with_dirty_bits() public {
        IComputeLedger.Request memory r = newRequest(3);
        bytes memory data = openCall(r, BUYER_KEY);
        data[4] = 0x01;
        (bool success,) = attempt(broker, address(ledger), data);
        assertTrue(!success, "an address with dirty upper bits");
    }

    function test_open_needs_the_buyers_credits_and_the_brokers_bond() public {
        IComputeLedger.Request memory r = newRequest(3);
        r.price = uint128(FUNDS + 1);
        refuse(broker, openCall(r, BUYER_KEY), ISettlement.SettlementBondTooSmall.selector);
        perform(bank, address(settlement), abi.encodeCall(settlement.mint, (broker, 1)));
        perform(broker, address(settlement), abi.encodeCall(settlement.postBond, (1)));
        refuse(
            broker,
            openCall(r, BUYER_KEY),
            bytes4(keccak256("ERC20InsufficientBalance(address,uint256,uint256)"))
        );
    }

    function test_open_needs_active_parties_in_their_roles() public {
        bytes4 inactive = IParticipants.ParticipantsInactive.selector;
        IComputeLedger.Request memory r = newRequest(3);
        perform(regulator, address(participants), abi.encodeCall(participants.suspend, (buyer)));
        refuse(broker, openCall(r, BUYER_KEY), inactive);
        perform(regulator, address(participants), abi.encodeCall(participants.lift, (buyer)));
        perform(
            registrar, address(participants), abi.encodeCall(participants.setRoles, (broker, Roles.BUYER))
        );
        refuse(broker, openCall(r, BUYER_KEY), inactive);
        perform(
            registrar, address(participants), abi.encodeCall(participants.setRoles, (broker, Roles.BROKER))
        );
        open(r);
    }

    function test_open_refuses_a_broker_that_controls_the_buyer() public {
        uint256 key = 0xB1;
        admit(vm.addr(key), operatorOf(broker), Roles.BUYER);
        IComputeLedger.Request memory r = newRequest(3);
        r.buyer = vm.addr(key);
        refuse(broker, openCall(r, key), IParticipants.ParticipantsOperatorShared.selector);
    }

    // ---------------------------------------------------------------- approve

    function test_approve_refuses_the_operator_of_broker_or_buyer() public {
        bytes4 shared = IParticipants.ParticipantsOperatorShared.selector;
        address[2] memory operators = [operatorOf(broker), operatorOf(buyer)];
        for (uint256 k = 0; k < 2; ++k) {
            address own = vm.addr(0xD000 + k);
            admit(own, operators[k], Roles.HOLDER);
            bytes32 asset = registerAsset(own, NAME, 1);
            perform(own, abi.encodeCall(ledger.openLine, (KEY_SPACE, BUDGET)));
            perform(own, address(assets), abi.encodeCall(assets.entrust, (asset, listing, broker)));
            vm.roll(block.number + 1);
            IComputeLedger.Request memory r = newRequest(3);
            open(r);
            refuse(own, abi.encodeCall(ledger.approve, (r, asset, keysOf(idOf(r), own))), shared);
        }
    }

    function test_approve_needs_the_callers_own_entrusted_asset() public {
        IComputeLedger.Request memory r = newRequest(3);
        open(r);
        bytes memory foreign =
            abi.encodeCall(ledger.approve, (r, assetOf(holders[1]), keysOf(idOf(r), holders[0])));
        refuse(holders[0], foreign, IAssetRegistry.AssetRegistryNotHolder.selector);
        perform(holders[0], address(assets), abi.encodeCall(assets.withdraw, (assetOf(holders[0]), listing)));
        refuse(holders[0], approveCall(r, 0), IAssetRegistry.AssetRegistryNotEntrusted.selector);
        perform(holders[1], address(assets), abi.encodeCall(assets.retire, (assetOf(holders[1]))));
        refuse(holders[1], approveCall(r, 1), IAssetRegistry.AssetRegistryInactive.selector);
        refuse(stranger, approveCall(r, 2), IParticipants.ParticipantsInactive.selector);
    }

    function test_approve_stops_when_buyer_broker_or_holder_is_suspended() public {
        IComputeLedger.Request memory r = newRequest(3);
        open(r);
        address[3] memory parties = [buyer, broker, holders[0]];
        for (uint256 k = 0; k < 3; ++k) {
            perform(regulator, address(participants), abi.encodeCall(participants.suspend, (parties[k])));
            refuse(holders[0], approveCall(r, 0), IParticipants.ParticipantsInactive.selector);
            perform(regulator, address(participants), abi.encodeCall(participants.lift, (parties[k])));
        }
        approve(r, 0);
    }

    function test_approve_is_once_and_only_until_the_roster_closes() public {
        IComputeLedger.Request memory r = newRequest(2);
        open(r);
        approve(r, 0);
        refuse(holders[0], approveCall(r, 0), IComputeLedger.ComputeLedgerStageWrong.selector);
        approve(r, 1);
        refuse(holders[2], approveCall(r, 2), IComputeLedger.ComputeLedgerRosterFull.selector);
        r = newRequest(2);
        open(r);
        vm.roll(r.approveBy);
        approve(r, 0);
        vm.roll(r.approveBy + 1);
        refuse(holders[1], approveCall(r, 1), IComputeLedger.ComputeLedgerTooLate.selector);
    }

    function test_approve_refuses_a_key_of_unknown_parity_and_a_request_not_opened() public {
        IComputeLedger.Request memory r = newRequest(2);
        refuse(holders[0], approveCall(r, 0), IComputeLedger.ComputeLedgerStateWrong.selector);
        open(r);
        IComputeLedger.SessionKeys memory keys = keysOf(idOf(r), holders[0]);
        keys.eParity = 4;
        bytes memory data = abi.encodeCall(ledger.approve, (r, assetOf(holders[0]), keys));
        refuse(holders[0], data, IComputeLedger.ComputeLedgerKeyInvalid.selector);
    }

    function test_approve_refuses_a_second_account_of_an_operator_already_in_the_roster() public {
        IComputeLedger.Request memory r = newRequest(3);
        open(r);
        approve(r, 0);
        address second = vm.addr(0xE001);
        bytes memory roles = abi.encodeCall(participants.setRoles, (holders[0], 0));
        perform(registrar, address(participants), roles);
        admit(second, operatorOf(holders[0]), Roles.HOLDER);
        bytes32 asset = registerAsset(second, NAME, 1);
        perform(second, abi.encodeCall(ledger.openLine, (KEY_SPACE, BUDGET)));
        perform(second, address(assets), abi.encodeCall(assets.entrust, (asset, listing, broker)));
        bytes memory data = abi.encodeCall(ledger.approve, (r, asset, keysOf(idOf(r), second)));
        refuse(second, data, IParticipants.ParticipantsHolderTooNew.selector);
        vm.roll(block.number + 1);
        refuse(second, data, IParticipants.ParticipantsHolderTooNew.selector);
    }

    // ---------------------------------------------------------------- share

    function test_share_waits_for_the_roster_and_ends_with_its_deadline() public {
        IComputeLedger.Request memory r = newRequest(4);
        open(r);
        approve(r, 0);
        approve(r, 1);
        approve(r, 2);
        refuse(holders[0], shareCall(r, 0), IComputeLedger.ComputeLedgerTooEarly.selector);
        vm.roll(r.approveBy + 1);
        share(r, 0);
        refuse(holders[0], shareCall(r, 0), IComputeLedger.ComputeLedgerStageWrong.selector);
        refuse(holders[3], shareCall(r, 3), IComputeLedger.ComputeLedgerStageWrong.selector);
        refuse(holders[3], approveCall(r, 3), IComputeLedger.ComputeLedgerStateWrong.selector);
        vm.roll(r.shareBy + 1);
        refuse(holders[1], shareCall(r, 1), IComputeLedger.ComputeLedgerTooLate.selector);
    }

    function test_share_refuses_a_roster_whose_parameters_are_impossible() public {
        IComputeLedger.Request memory r = newRequest(3);
        r.minHolders = 2;
        open(r);
        approve(r, 0);
        vm.roll(r.approveBy + 1);
        refuse(holders[0], shareCall(r, 0), IComputeLedger.ComputeLedgerParametersImpossible.selector);
    }

    function test_share_refuses_other_keys_than_were_approved() public {
        IComputeLedger.Request memory r = runTo(3, 1);
        bytes32 line = lineOf(holders[0]);
        bytes memory data = abi.encodeCall(ledger.share, (r, line, keccak256("other"), line, line, line));
        refuse(holders[0], data, IComputeLedger.ComputeLedgerMemberWrong.selector);
    }

    // ---------------------------------------------------------------- contribute

    function test_contribute_waits_for_sharing_and_ends_with_its_deadline() public {
        IComputeLedger.Request memory r = runTo(3, 1);
        refuse(holders[0], contributeCall(r, 0), IComputeLedger.ComputeLedgerStateWrong.selector);
        share(r, 0);
        share(r, 1);
        vm.roll(r.shareBy);
        refuse(holders[0], contributeCall(r, 0), IComputeLedger.ComputeLedgerTooEarly.selector);
        vm.roll(r.shareBy + 1);
        contribute(r, 0);
        refuse(holders[0], contributeCall(r, 0), IComputeLedger.ComputeLedgerStageWrong.selector);
        refuse(holders[2], contributeCall(r, 2), IComputeLedger.ComputeLedgerStageWrong.selector);
        vm.roll(r.contributeBy + 1);
        refuse(holders[1], contributeCall(r, 1), IComputeLedger.ComputeLedgerTooLate.selector);
    }

    function test_contribute_refuses_while_too_few_shared() public {
        IComputeLedger.Request memory r = runTo(3, 1);
        share(r, 0);
        vm.roll(r.shareBy + 1);
        refuse(holders[0], contributeCall(r, 0), IComputeLedger.ComputeLedgerBelowFloor.selector);
    }

    function test_contribute_refuses_a_commitment_that_was_not_fixed_before() public {
        IComputeLedger.Request memory r = runTo(3, 2);
        refuse(holders[0], _contribution(r, multiple(7)), IComputeLedger.ComputeLedgerMemberWrong.selector);
    }

    function test_contribute_refuses_points_outside_the_subgroup_or_the_curve() public {
        bytes memory orderThree = abi.encodePacked(bytes32(0), bytes32(0), bytes32(0), bytes32(uint256(2)));
        _refusePoint(orderThree, Bls12381.Bls12381PointInvalid.selector);
        _refusePoint(abi.encodePacked(new bytes(127), uint8(3)), Bls12381.Bls12381PointInvalid.selector);
        bytes memory shifted = generator();
        shifted[0] = 0x01;
        _refusePoint(shifted, Bls12381.Bls12381PointInvalid.selector);
        _refusePoint(new bytes(127), Bls12381.Bls12381LengthWrong.selector);
        _refusePoint(new bytes(129), Bls12381.Bls12381LengthWrong.selector);
    }

    /// @dev x + p encodes the same field element, but is not canonical.
    function test_contribute_refuses_coordinates_that_are_not_reduced() public {
        bytes memory point = generator();
        bytes memory p =
            hex"1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab";
        uint256 carry = 0;
        for (uint256 i = 48; i > 0; --i) {
            uint256 sum = uint256(uint8(point[15 + i])) + uint8(p[i - 1]) + carry;
            point[15 + i] = bytes1(uint8(sum));
            carry = sum >> 8;
        }
        assertEq(carry, 0, "fits in 48 bytes");
        _refusePoint(point, Bls12381.Bls12381PointInvalid.selector);
    }

    function test_contribute_refuses_a_forged_receipt() public {
        IComputeLedger.Request memory r = runTo(3, 2);
        bytes32 id = idOf(r);
        bytes4 wrong = IComputeLedger.ComputeLedgerReceiptWrong.selector;
        refuse(holders[0], _withReceipt(r, receiptOf(id, holders[0], BUYER_KEY)), wrong);
        refuse(holders[0], _withReceipt(r, receiptOf(id, holders[1], BROKER_KEY)), wrong);
        refuse(holders[0], _withReceipt(r, ""), wrong);
        bytes memory receipt = receiptOf(id, holders[0], BROKER_KEY);
        receipt[64] = bytes1(uint8(receipt[64]) - 27);
        refuse(holders[0], _withReceipt(r, receipt), wrong);
    }

    function test_contribute_refuses_the_receipt_for_another_kind_of_message() public {
        IComputeLedger.Request memory r = runTo(3, 2);
        IComputeLedger.Contribution memory c = contributionOf(idOf(r), holders[0]);
        bytes32 bundle =
            h("message", bytes32(uint256(1)), c.session, bytes32(uint256(c.sender)), c.payloadHash);
        bytes memory receipt = sign(BROKER_KEY, h("receipt", idOf(r), word(holders[0]), bundle));
        refuse(holders[0], _withReceipt(r, receipt), IComputeLedger.ComputeLedgerReceiptWrong.selector);
    }

    function test_ledger_names_an_absent_precompile() public {
        IComputeLedger.Request memory r = runTo(3, 2);
        bytes memory data = contributeCall(r, 0);
        vm.mockCall(Bls12381.G1MSM, "", "");
        refuse(holders[0], data, Bls12381.Bls12381PrecompileAbsent.selector);
    }

    // ---------------------------------------------------------------- seal

    function test_seal_refuses_before_contributing_closed_below_the_floor_and_after_its_deadline() public {
        IComputeLedger.Request memory r = runTo(4, 2);
        refuse(stranger, sealCall(r), IComputeLedger.ComputeLedgerStateWrong.selector);
        contribute(r, 0);
        contribute(r, 1);
        vm.roll(r.contributeBy);
        refuse(stranger, sealCall(r), IComputeLedger.ComputeLedgerTooEarly.selector);
        vm.roll(r.contributeBy + 1);
        refuse(stranger, sealCall(r), IComputeLedger.ComputeLedgerBelowFloor.selector);
        r = runTo(3, 3);
        vm.roll(r.answerBy + 1);
        refuse(stranger, sealCall(r), IComputeLedger.ComputeLedgerTooLate.selector);
    }

    function test_seal_needs_every_member_once_in_order_and_as_it_was() public {
        IComputeLedger.Request memory r = runTo(3, 3);
        IComputeLedger.Member[] memory all = roster(r);
        IComputeLedger.Member[] memory fewer = new IComputeLedger.Member[](2);
        (fewer[0], fewer[1]) = (all[0], all[1]);
        _refuseSeal(r, fewer, IComputeLedger.ComputeLedgerMembersIncomplete.selector);
        (all[0], all[1]) = (all[1], all[0]);
        _refuseSeal(r, all, IComputeLedger.ComputeLedgerMembersUnsorted.selector);
        all[0] = all[1];
        _refuseSeal(r, all, IComputeLedger.ComputeLedgerMembersUnsorted.selector);
        all = roster(r);
        all[2].detail = bytes32(0);
        _refuseSeal(r, all, IComputeLedger.ComputeLedgerMemberWrong.selector);
        all = roster(r);
        all[1].line = lineOf(holders[5]);
        _refuseSeal(r, all, IComputeLedger.ComputeLedgerMemberWrong.selector);
        all = roster(r);
        all[2] = memberOf(idOf(r), holders[7]);
        _refuseSeal(r, all, IComputeLedger.ComputeLedgerMemberWrong.selector);
        seal(r);
        refuse(stranger, sealCall(r), IComputeLedger.ComputeLedgerStateWrong.selector);
    }

    function test_open_line_is_once_by_an_active_holder() public {
        bytes memory again = abi.encodeCall(ledger.openLine, (KEY_SPACE, BUDGET));
        refuse(holders[0], again, IComputeLedger.ComputeLedgerLineExists.selector);
        refuse(stranger, again, IParticipants.ParticipantsInactive.selector);
        bytes memory empty = abi.encodeCall(ledger.openLine, (keccak256("firms"), 0));
        refuse(holders[0], empty, IComputeLedger.ComputeLedgerLineEmpty.selector);
    }

    // ---------------------------------------------------------------- helpers

    function _contribution(IComputeLedger.Request memory r, bytes memory point)
        private
        view
        returns (bytes memory)
    {
        bytes32 id = idOf(r);
        bytes memory receipt = receiptOf(id, holders[0], BROKER_KEY);
        return abi.encodeCall(ledger.contribute, (r, contributionOf(id, holders[0]), point, receipt));
    }

    function _withReceipt(IComputeLedger.Request memory r, bytes memory receipt)
        private
        view
        returns (bytes memory)
    {
        IComputeLedger.Contribution memory c = contributionOf(idOf(r), holders[0]);
        return abi.encodeCall(ledger.contribute, (r, c, commitmentOf(holders[0]), receipt));
    }

    /// @dev The holder fixed that very point beforehand.
    function _refusePoint(bytes memory point, bytes4 selector) private {
        IComputeLedger.Request memory r = runTo(1, 1);
        bytes32 id = idOf(r);
        bytes32 fixedHash = h("commitment", id, word(holders[0]), keccak256(point));
        bytes memory data = abi.encodeCall(
            ledger.share,
            (
                r,
                lineOf(holders[0]),
                keysHashOf(id, holders[0]),
                bundleHashOf(id, holders[0]),
                seedHashOf(id, holders[0]),
                fixedHash
            )
        );
        perform(holders[0], data);
        refuse(holders[0], _contribution(r, point), selector);
    }

    function _refuseSeal(
        IComputeLedger.Request memory r,
        IComputeLedger.Member[] memory members,
        bytes4 selector
    ) private {
        refuse(stranger, abi.encodeCall(ledger.seal, (r, members)), selector);
    }
}
